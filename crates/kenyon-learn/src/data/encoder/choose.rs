//! Which pairs of numbers explain the target together beyond what either does, found on training rows, whatever the
//! columns are called: on one half of the rows the target is explained by the bins of each number alone (backfitting,
//! Hastie & Tibshirani 1990), then what is left by the cells of each pair; the other half shows how much that helps.

use super::bins::edges;
use crate::data::plan::ColumnPlan;
use crate::data::target::{Encoded, NO_CLASS};
use crate::data::{Column, Table};

/// Number columns that are tested: those that explain most by themselves.
const NUMBERS: usize = 10;
/// Rows that are used.
const ROWS: usize = 20_000;
/// Below so many rows cells are too empty.
const LEAST_ROWS: usize = 300;
/// Bins of a number.
const BINS: usize = 16;
/// Classes that are used, the most frequent ones.
const CLASSES: usize = 8;
/// Rows of mean zero that every bin and every cell holds beforehand.
const PRIOR: f64 = 10.0;

/// A number as bins, one a row; the last is that of rows without a value.
struct Binned<'a> {
    name: &'a str,
    bins: Vec<usize>,
}

/// Which pairs are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLimits {
    /// So many at most.
    pub most: usize,
    /// Share of the target's variance that the cells of a pair must explain beyond its numbers alone.
    pub gain: f64,
    /// Whether a number may belong to several.
    pub shared: bool,
}

/// The pairs of numbers whose cells explain the target of `rows` beyond what either number does, the best first.
pub fn choose(
    table: &Table,
    inputs: &[ColumnPlan],
    rows: &[usize],
    targets: &Encoded,
    limits: PairLimits,
) -> Vec<[String; 2]> {
    let step = rows.len().div_ceil(ROWS).max(1);
    let rows: Vec<usize> = rows.iter().copied().step_by(step).filter(|&row| is_known(targets, row)).collect();
    if limits.most == 0 || rows.len() < LEAST_ROWS {
        return Vec::new();
    }
    let mut columns: Vec<Binned<'_>> = inputs.iter().filter_map(|plan| binned(table, plan, &rows)).collect();
    let mut residuals = targets_of(targets, &rows);
    let total: f64 = residuals.iter().map(|target| held_out(target).map(|y| y * y).sum::<f64>()).sum();
    if columns.len() < 2 || total <= 0.0 {
        return Vec::new();
    }
    let own = |column: &Binned<'_>| gain(&residuals, &column.bins, BINS + 1);
    let mut by_gain: Vec<(f64, usize)> = columns.iter().map(own).zip(0..).collect();
    by_gain.sort_by(|a, b| b.0.total_cmp(&a.0));
    let kept: Vec<usize> = by_gain.iter().take(NUMBERS).map(|&(_, index)| index).collect();
    let mut index = 0..;
    columns.retain(|_| index.next().is_some_and(|index| kept.contains(&index)));
    // Twice over all columns: the second time corrects what correlated columns took from each other.
    for _ in 0..2 {
        for column in &columns {
            explain(&mut residuals, &column.bins, BINS + 1);
        }
    }
    let mut found = Vec::new();
    for (at, first) in columns.iter().enumerate() {
        for second in &columns[at + 1..] {
            let cells: Vec<usize> = first.bins.iter().zip(&second.bins).map(|(a, b)| a * (BINS + 1) + b).collect();
            let share = gain(&residuals, &cells, (BINS + 1) * (BINS + 1)) / total;
            if share > limits.gain {
                found.push((share, [first.name, second.name]));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut chosen: Vec<[String; 2]> = Vec::new();
    for (_, pair) in found {
        let is_free = limits.shared || !chosen.iter().flatten().any(|name| pair.contains(&name.as_str()));
        if chosen.len() < limits.most && is_free {
            chosen.push(pair.map(str::to_owned));
        }
    }
    chosen
}

fn is_known(targets: &Encoded, row: usize) -> bool {
    match targets {
        Encoded::Values(values) => values[row].is_finite(),
        Encoded::Classes(ids) => ids[row] != NO_CLASS,
    }
}

/// Every target of the rows, centred: the values, or whether a row is of a class.
fn targets_of(targets: &Encoded, rows: &[usize]) -> Vec<Vec<f64>> {
    let centred = |mut values: Vec<f64>| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter_mut().for_each(|value| *value -= mean);
        values
    };
    match targets {
        Encoded::Values(values) => vec![centred(rows.iter().map(|&row| f64::from(values[row])).collect())],
        Encoded::Classes(ids) => {
            let mut counts: std::collections::BTreeMap<u32, usize> = std::collections::BTreeMap::new();
            rows.iter().for_each(|&row| *counts.entry(ids[row]).or_default() += 1);
            let mut classes: Vec<(usize, u32)> = counts.into_iter().map(|(class, count)| (count, class)).collect();
            classes.sort_by(|a, b| b.cmp(a));
            // The second of two classes carries the information of the first.
            classes.truncate(if classes.len() == 2 { 1 } else { CLASSES });
            let of = |class: u32| rows.iter().map(|&row| f64::from(u8::from(ids[row] == class))).collect();
            classes.into_iter().map(|(_, class)| centred(of(class))).collect()
        }
    }
}

/// A column of numbers as bins; none for other columns, and for few different values.
fn binned<'a>(table: &Table, plan: &'a ColumnPlan, rows: &[usize]) -> Option<Binned<'a>> {
    let Column::Number(values) = table.column(&plan.name)? else { return None };
    let mut known: Vec<f64> = rows.iter().map(|&row| values[row]).filter(|value| value.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    let edges = edges(&known, BINS);
    if edges.len() < BINS {
        return None;
    }
    let inner = &edges[1..edges.len() - 1];
    let bin = |value: f64| if value.is_finite() { inner.partition_point(|&edge| edge <= value) } else { BINS };
    Some(Binned { name: &plan.name, bins: rows.iter().map(|&row| bin(values[row])).collect() })
}

fn held_out(values: &[f64]) -> impl Iterator<Item = f64> + '_ {
    values.iter().copied().skip(1).step_by(2)
}

/// Means of the first half of the rows by group.
fn means(target: &[f64], groups: &[usize], count: usize) -> Vec<f64> {
    let mut sums = vec![(0.0, PRIOR); count];
    for (&value, &group) in target.iter().zip(groups).step_by(2) {
        sums[group].0 += value;
        sums[group].1 += 1.0;
    }
    sums.into_iter().map(|(sum, rows)| sum / rows).collect()
}

/// Takes from all rows what the means of the first half explain.
fn explain(targets: &mut [Vec<f64>], groups: &[usize], count: usize) {
    for target in targets {
        let means = means(target, groups, count);
        target.iter_mut().zip(groups).for_each(|(value, &group)| *value -= means[group]);
    }
}

/// Squares that the means of the first half take from the other half.
fn gain(targets: &[Vec<f64>], groups: &[usize], count: usize) -> f64 {
    let of = |target: &Vec<f64>| {
        let means = means(target, groups, count);
        let pairs = target.iter().zip(groups).skip(1).step_by(2);
        pairs.map(|(value, &group)| value * value - (value - means[group]).powi(2)).sum::<f64>()
    };
    targets.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ColumnKind;
    use crate::random::Random;

    fn table(rows: usize) -> (Table, Vec<ColumnPlan>) {
        let mut random = Random::new(7);
        let names = ["a", "b", "c", "d"];
        let column = |random: &mut Random| Column::Number((0..rows).map(|_| f64::from(random.normal())).collect());
        let columns = names.iter().map(|name| ((*name).to_owned(), column(&mut random))).collect();
        let plans = names.iter().map(|name| ColumnPlan::new(*name, ColumnKind::Number)).collect();
        (Table { rows, columns }, plans)
    }

    fn choose_two(table: &Table, plans: &[ColumnPlan], rows: &[usize], targets: &Encoded) -> Vec<[String; 2]> {
        choose(table, plans, rows, targets, PairLimits { most: 2, gain: 0.02, shared: false })
    }

    fn number(table: &Table, name: &str, row: usize) -> f64 {
        let Some(Column::Number(values)) = table.column(name) else { panic!("{name} is no number") };
        values[row]
    }

    #[test]
    fn the_pair_that_matters_together_is_found_whatever_its_name() {
        let (table, plans) = table(4_000);
        let rows: Vec<usize> = (0..4_000).collect();
        let near = |row: usize| (number(&table, "b", row) - number(&table, "d", row)).abs() < 0.5;
        let values = rows.iter().map(|&row| (f64::from(u8::from(near(row))) + number(&table, "a", row)) as f32);
        assert_eq!(choose_two(&table, &plans, &rows, &Encoded::Values(values.collect())), [["b", "d"]]);
        let classes = rows.iter().map(|&row| u32::from(near(row))).collect();
        assert_eq!(choose_two(&table, &plans, &rows, &Encoded::Classes(classes)), [["b", "d"]]);
    }

    #[test]
    fn sums_of_numbers_and_noise_need_no_pair() {
        let (table, plans) = table(4_000);
        let rows: Vec<usize> = (0..4_000).collect();
        let mut random = Random::new(8);
        let sums = rows.iter().map(|&row| (number(&table, "a", row) + number(&table, "b", row).powi(2)) as f32);
        assert!(choose_two(&table, &plans, &rows, &Encoded::Values(sums.collect())).is_empty());
        let noise = rows.iter().map(|_| random.normal()).collect();
        assert!(choose_two(&table, &plans, &rows, &Encoded::Values(noise)).is_empty());
    }

    #[test]
    fn a_number_belongs_to_several_pairs_where_that_is_allowed() {
        let (table, plans) = table(4_000);
        let rows: Vec<usize> = (0..4_000).collect();
        let near = |row: usize, with: &str| (number(&table, "b", row) - number(&table, with, row)).abs() < 0.3;
        let class = |&row: &usize| if near(row, "a") { 1 } else { 2 * u32::from(near(row, "d")) };
        let classes = Encoded::Classes(rows.iter().map(class).collect());
        let limits = PairLimits { most: 3, gain: 0.005, shared: true };
        let mut chosen = choose(&table, &plans, &rows, &classes, limits);
        chosen.sort();
        assert_eq!(chosen[..2], [["a", "b"], ["b", "d"]], "{chosen:?}");
        let single = choose(&table, &plans, &rows, &classes, PairLimits { shared: false, ..limits });
        assert_eq!(single.len(), 1, "{single:?}");
        assert!(choose(&table, &plans, &rows, &classes, PairLimits { most: 0, ..limits }).is_empty());
    }
}
