//! Which inputs a mini-batch touches, so that Adam keeps gradients only for those.

use crate::nn::kernels::Rows;

/// The inputs of a level, or of a group's field, that a mini-batch touches.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    stamp: u64,
    seen: Vec<u64>,
    slot: Vec<u32>,
    unique: Vec<u32>,
    /// The slot of each entry; a list a part.
    entries: Vec<Vec<u32>>,
}

impl Slots {
    /// The inputs touched, ascending.
    pub fn unique(&self) -> &[u32] {
        &self.unique
    }

    /// The rows of part `part` with slots in the place of inputs.
    pub fn rows<'a>(&'a self, part: usize, feed: &Rows<'a>) -> Rows<'a> {
        match feed.with_indices(&self.entries[part], self.unique.len()) {
            Some(rows) => rows,
            None => unreachable!("every entry has a slot"),
        }
    }

    /// Looks through the rows of all parts, whose inputs are below `inputs`.
    pub fn fill(&mut self, feeds: &[Rows<'_>], inputs: usize) {
        self.stamp += 1;
        self.seen.resize(inputs, 0);
        self.slot.resize(inputs, 0);
        self.unique.clear();
        for feed in feeds {
            for row in 0..feed.len() {
                for &index in feed.row(row).0 {
                    let seen = &mut self.seen[index as usize];
                    if *seen != self.stamp {
                        *seen = self.stamp;
                        self.unique.push(index);
                    }
                }
            }
        }
        self.unique.sort_unstable();
        for (slot, &index) in self.unique.iter().enumerate() {
            self.slot[index as usize] = slot as u32;
        }
        self.entries.resize_with(feeds.len(), Vec::new);
        for (feed, entries) in feeds.iter().zip(&mut self.entries) {
            entries.clear();
            entries.resize(feed.stored(), 0);
            for row in 0..feed.len() {
                for (slot, &index) in entries[feed.range(row)].iter_mut().zip(feed.row(row).0) {
                    *slot = self.slot[index as usize];
                }
            }
        }
    }
}
