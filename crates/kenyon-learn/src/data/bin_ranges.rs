//! Which feature indices are bins of numbers.

use std::ops::Range;

/// The ranges of the feature space that numbers fill as a thermometer does: bins below the value are 1, the bin it
/// lies in is as full as the value is far into it, bins above are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BinRanges(Vec<Range<u32>>);

impl BinRanges {
    /// From ranges in ascending order that share no index; empty ones are left out.
    pub fn new(ranges: impl IntoIterator<Item = Range<u32>>) -> Self {
        let ranges: Vec<Range<u32>> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        debug_assert!(ranges.is_sorted_by(|a, b| a.end <= b.start), "ranges ascend");
        Self(ranges)
    }

    /// Whether no index is a bin.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bins of one number after the other, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Range<u32>> {
        self.0.iter().cloned()
    }

    /// The first bin of the number that `index` is a bin of; none where it is no bin.
    pub fn first(&self, index: u32) -> Option<u32> {
        let after = self.0.partition_point(|range| range.start <= index);
        self.0[..after].last().filter(|range| range.contains(&index)).map(|range| range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_found_in_its_range_only() {
        let bins = BinRanges::new([1..4, 4..4, 4..6, 9..10]);
        let first: Vec<Option<u32>> = (0..11).map(|index| bins.first(index)).collect();
        let known = [1, 1, 1, 4, 4].map(Some);
        assert_eq!((first[0], &first[1..6], &first[6..9]), (None, &known[..], &[None; 3][..]));
        assert_eq!((first[9], first[10], bins.iter().count()), (Some(9), None, 3));
        assert!(BinRanges::default().is_empty() && BinRanges::default().first(0).is_none());
    }
}
