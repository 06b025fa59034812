//! Time to 98.0 % test accuracy on MNIST through the same interface as a training job; the protocol
//! of ../shared/peers/a_train.py. `cargo bench --bench mnist_race -- [--seeds 5] [--threads 2]
//! [--epochs 3] [--rate 0.03] [--hidden 1024] [--share 0.0625] [--field 0.4] [--set fashion_mnist]
//! [--goal 0.98] [--noise 0.2]`: the last reads the test images once more with that share of pixels replaced by any value.
#![allow(clippy::unwrap_used)]

mod common;

use common::{argument, cpu_seconds, idx};
use kenyon_learn::data::encoder::{Encoder, Layout};
use kenyon_learn::data::plan::{ColumnPlan, Resolved};
use kenyon_learn::data::profile::DataProfile;
use kenyon_learn::data::{Batch, Column, ColumnKind, Table};
use kenyon_learn::models::recipe::Recipe;
use kenyon_learn::models::{Family, LearnerSpec, Position, Targets, Task};
use kenyon_learn::random::Random;
use serde_json::json;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn number(name: &str, default: f64) -> f64 {
    argument(name).map_or(default, |text| text.parse().unwrap())
}

fn main() {
    let set = argument("--set").unwrap_or_else(|| "mnist".to_owned());
    let (Some((train, labels)), Some((test, truth))) = (idx(&set, "train"), idx(&set, "t10k")) else { return };
    let table = |values: Vec<f32>| Table {
        rows: values.len() / 784,
        columns: vec![("image".to_owned(), Column::Vector { width: 784, shape: Some(vec![28, 28]), values })],
    };
    let noise = number("--noise", 0.0) as f32;
    let mut random = Random::stream(1, "noise", 0);
    let noisy = test.iter().map(|&v| if random.uniform() < noise { 255.0 * random.uniform() } else { v }).collect();
    let start = Instant::now();
    let (train, test, noisy) = (table(train), table(test), table(noisy));
    let mut plan = ColumnPlan::new("image", ColumnKind::Vector);
    plan.shape = Some(vec![28, 28]);
    let all: Vec<usize> = (0..train.rows).collect();
    let encoder = Encoder::fit(&train, &all, &[plan.clone()], Layout::Bag).unwrap();
    let target = ColumnPlan::new("label", ColumnKind::Category);
    let resolved = Resolved { target, task: Task::Classification, inputs: vec![plan], ignored: Vec::new() };
    let profile = DataProfile::new(&train, &resolved);
    let (batch, test) = (encoder.encode(&train).unwrap(), encoder.encode(&test).unwrap());
    let noisy = encoder.encode(&noisy).unwrap();
    println!("encoded {} + {} rows in {:.2} s", batch.rows(), test.rows(), start.elapsed().as_secs_f64());

    let hidden: Vec<usize> =
        argument("--hidden").map_or(vec![1024], |text| text.split(',').map(|size| size.parse().unwrap()).collect());
    let mut config = json!({
        "learning_rate": number("--rate", 0.03),
        "active_share": number("--share", 0.0625),
        "hidden": hidden,
    });
    if argument("--field").is_some() {
        config["field"] = number("--field", 1.0).into();
    }
    let family = Family::named("sparse_mlp").unwrap();
    let config = Recipe::new(family, &profile, config.as_object().unwrap()).config;
    let (epochs, threads) = (number("--epochs", 3.0) as usize, number("--threads", 2.0) as usize);
    let accuracy_of = |answers: &[f32]| {
        let right = |(answer, &class): (&[f32], &u32)| {
            let best = (0..10).max_by(|&a, &b| answer[a].total_cmp(&answer[b])).unwrap_or(0);
            usize::from(best as u32 == class)
        };
        answers.chunks(10).zip(&truth).map(right).sum::<usize>() as f64 / truth.len() as f64
    };
    let (goal, rows) = (number("--goal", 0.98), number("--batch", 32.0) as usize);
    let mut times = vec![];
    for seed in 1..=number("--seeds", 5.0) as u64 {
        let spec = LearnerSpec {
            encoder: &encoder,
            task: Task::Classification,
            outputs: 10,
            rows: batch.rows(),
            config: &config,
            seed,
            names: &[],
            threads,
        };
        let mut learner = family.learner(&spec).unwrap();
        let (mut spent, mut cpu, mut reached, mut accuracy) = (0.0, 0.0, None, 0.0);
        let mut mini = Batch::new();
        let steps_an_epoch = batch.rows().div_ceil(rows);
        let mut position = Position { epoch: 0, epochs, step: 0, steps: (steps_an_epoch * epochs) as u64 };
        for epoch in 0..epochs {
            let mut order = all.clone();
            Random::stream(seed, "order", epoch as u64).shuffle(&mut order);
            position.epoch = epoch;
            // As the peers: test accuracy is read every 12,800 rows, and reading it is not counted.
            for part in order.chunks(12_800) {
                let (start, cpu_start) = (Instant::now(), cpu_seconds());
                for chosen in part.chunks(rows) {
                    mini.select_into(&batch, chosen);
                    let classes: Vec<u32> = chosen.iter().map(|&row| labels[row]).collect();
                    learner.step(&mini, Targets::Classes(&classes, None), position).unwrap();
                    position.step += 1;
                }
                spent += start.elapsed().as_secs_f64();
                cpu += cpu_seconds() - cpu_start;
                accuracy = accuracy_of(&learner.forward(&test).unwrap());
                if accuracy >= goal && reached.is_none() {
                    reached = Some((spent, cpu));
                }
            }
        }
        let network = learner.finish(None).unwrap();
        let activity = network.activity(&test).unwrap();
        let dead: Vec<usize> = activity.layers.iter().map(|layer| layer.dead_units).collect();
        let share = activity.effective_macs / activity.dense_macs;
        let reached_text =
            reached.map_or("not reached".to_owned(), |(wall, cpu)| format!("{wall:.2} s ({cpu:.2} CPU s)"));
        println!(
            "seed {seed}: {:.1} % {reached_text}; end {:.2} % after {spent:.2} s ({cpu:.2} CPU s), {:.3} s an epoch; \
             dead {dead:?}; MACs {:.3} of dense",
            goal * 100.0,
            accuracy * 100.0,
            spent / epochs as f64,
            share
        );
        if noise > 0.0 {
            let share = accuracy_of(&network.forward(&noisy).unwrap());
            println!("        {:.2} % with {noise} of the pixels noise", share * 100.0);
        }
        times.push(reached.map_or(f64::INFINITY, |(wall, _)| wall));
    }
    times.sort_by(f64::total_cmp);
    println!("{threads} threads, median {:.2} s to {:.1} %", times[times.len() / 2], goal * 100.0);
}
