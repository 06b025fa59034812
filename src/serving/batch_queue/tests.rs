//! Order and contents of answers, with a network that a test can block.
use super::*;
use std::sync::mpsc;

/// Answers each row with its first index doubled; index 13 panics. Passes wait for `gate`.
struct Doubler {
    gate: Option<Mutex<mpsc::Receiver<()>>>,
    batches: Mutex<Vec<usize>>,
}

impl Doubler {
    fn new(gate: Option<mpsc::Receiver<()>>) -> Arc<Self> {
        Arc::new(Self { gate: gate.map(Mutex::new), batches: Mutex::default() })
    }
}

impl Forward for Doubler {
    fn forward(&self, batch: &Batch, novelty: bool) -> Result<Outputs> {
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().unwrap();
        }
        self.batches.lock().unwrap().push(batch.rows());
        let values: Vec<f32> = (0..batch.rows()).map(|r| batch.entries(r).0[0] as f32 * 2.0).collect();
        assert!(!values.contains(&26.0), "thirteen");
        let novelty = if novelty { values.clone() } else { Vec::new() };
        Ok(Outputs { values, width: 1, novelty, ..Outputs::default() })
    }
}

fn rows(range: std::ops::Range<u32>) -> Batch {
    let mut batch = Batch::new();
    for index in range {
        batch.push_entry(index, 1.0);
        batch.end_bag();
    }
    batch
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn small() -> Limits {
    Limits { max_batch_rows: 8, max_queue_rows: 20, inline_slots: 0, ..Limits::default() }
}

#[tokio::test]
async fn everyone_gets_exactly_its_own_rows() {
    let network = Doubler::new(None);
    let queue = Arc::new(BatchQueue::new("m", network.clone(), small(), |_, _| {}));
    let calls = (0..40u32).map(|i| {
        let queue = Arc::clone(&queue);
        async move {
            let from = 100 + i * 50;
            // Only 20 rows may wait; refused requests are sent again.
            loop {
                match queue.run(rows(from..from + 1 + i % 11), i % 2 == 0, soon()).await {
                    Ok((out, _)) => {
                        let expected: Vec<f32> = (from..from + 1 + i % 11).map(|v| v as f32 * 2.0).collect();
                        assert_eq!(out.values, expected);
                        assert_eq!(out.novelty.len(), if i % 2 == 0 { expected.len() } else { 0 });
                        break;
                    }
                    Err(error) => assert_eq!(error.kind, Kind::Overloaded),
                }
                tokio::task::yield_now().await;
            }
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(queue.queued_rows(), 0);
    assert!(network.batches.lock().unwrap().iter().all(|&rows| rows <= 8));
}

#[tokio::test]
async fn whole_requests_are_admitted_or_turned_away_and_waiting_ones_share_a_pass() {
    let (open, gate) = mpsc::channel();
    let network = Doubler::new(Some(gate));
    let queue = BatchQueue::new("m", network.clone(), small(), |_, _| {});
    let mut first = Box::pin(queue.run(rows(0..2), false, soon()));
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(queue.run(rows(20..35), false, soon()));
    assert!(futures::poll!(&mut second).is_pending());
    let refused = queue.run(rows(0..4), false, soon()).await.unwrap_err();
    assert_eq!((refused.kind, refused.code), (Kind::Overloaded, "queue_full"));
    assert!(refused.retry_after.is_some());
    assert_eq!(queue.run(rows(0..21), false, soon()).await.unwrap_err().kind, Kind::TooLarge);
    let mut third = Box::pin(queue.run(rows(40..43), false, soon()));
    assert!(futures::poll!(&mut third).is_pending());
    for _ in 0..5 {
        open.send(()).unwrap();
    }
    let (first, second, third) = tokio::join!(first, second, third);
    assert_eq!(first.unwrap().0.values, [0.0, 2.0]);
    assert_eq!(second.unwrap().0.values.len(), 15);
    assert_eq!(third.unwrap().0.values, [80.0, 82.0, 84.0]);
    // 20 rows in passes of at most 8, the small ones not behind the large one.
    assert!(network.batches.lock().unwrap().len() <= 4);
}

#[tokio::test]
async fn abandoned_and_late_requests_are_not_run() {
    let (open, gate) = mpsc::channel();
    let network = Doubler::new(Some(gate));
    let queue = BatchQueue::new("m", network.clone(), small(), |_, _| {});
    let mut first = Box::pin(queue.run(rows(0..1), false, soon()));
    assert!(futures::poll!(&mut first).is_pending());
    // The thread is at the gate with the first row once its queue is seen empty.
    let mut gone = Box::pin(queue.run(rows(5..6), false, soon()));
    assert!(futures::poll!(&mut gone).is_pending());
    drop(gone);
    let late = queue.run(rows(6..7), false, Instant::now()).await.unwrap_err();
    assert_eq!(late.kind, Kind::Deadline);
    open.send(()).unwrap();
    open.send(()).unwrap();
    first.await.unwrap();
    let (last, _) = queue.run(rows(9..10), false, soon()).await.unwrap();
    assert_eq!(last.values, [18.0]);
    assert_eq!(network.batches.lock().unwrap().iter().sum::<usize>(), 2);
    assert_eq!(queue.queued_rows(), 0);
}

#[tokio::test]
async fn a_panic_costs_its_sender_and_nobody_else() {
    let (open, gate) = mpsc::channel();
    let queue = BatchQueue::new("m", Doubler::new(Some(gate)), small(), |_, _| {});
    let mut calls: Vec<_> =
        [1, 13, 3].into_iter().map(|i| Box::pin(queue.run(rows(i..i + 1), false, soon()))).collect();
    for call in &mut calls {
        assert!(futures::poll!(call).is_pending());
    }
    for _ in 0..9 {
        open.send(()).unwrap();
    }
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers[0].as_ref().unwrap().0.values, [2.0]);
    assert_eq!(answers[1].as_ref().unwrap_err().kind, Kind::Internal);
    assert_eq!(answers[2].as_ref().unwrap().0.values, [6.0]);
    assert!(queue.poisoned());
}

#[tokio::test]
async fn a_quick_idle_network_is_run_by_the_caller() {
    let limits = Limits { inline_slots: 1, inline_budget: Duration::from_secs(1), ..Limits::default() };
    let queue = BatchQueue::new("m", Doubler::new(None), limits, |_, _| {});
    // The first request measures the network on its own thread; from then on callers run it.
    queue.run(rows(1..2), false, soon()).await.unwrap();
    let (out, spent) = queue.run(rows(2..3), false, soon()).await.unwrap();
    assert_eq!((out.values.as_slice(), spent.queue), ([4.0].as_slice(), Duration::ZERO));
}

#[tokio::test]
async fn a_network_that_was_measured_needs_no_thread_for_its_first_request() {
    let limits = Limits { inline_slots: 1, inline_budget: Duration::from_secs(1), ..Limits::default() };
    let network = Doubler::new(None);
    let queue = BatchQueue::new("m", network.clone(), limits, |_, _| panic!("measuring is no pass of a request"));
    // What fails is left to the first request.
    queue.measure(&rows(13..14));
    assert!(!queue.poisoned() && queue.shared.row_nanos.load(Ordering::Relaxed) == 0);
    queue.measure(&rows(1..2));
    assert!(queue.shared.row_nanos.load(Ordering::Relaxed) > 0);
    let queue = BatchQueue::new("m", network, limits, |_, _| {});
    queue.measure(&rows(1..2));
    assert_eq!(queue.run(rows(2..3), false, soon()).await.unwrap().0.values, [4.0]);
    assert!(!queue.shared.lock().started);
}

#[tokio::test]
async fn a_thread_without_work_ends_and_another_takes_what_comes_later() {
    let limits = Limits { thread_idle: Duration::from_millis(1), ..small() };
    let queue = BatchQueue::new("m", Doubler::new(None), limits, |_, _| {});
    for row in 1..4 {
        assert_eq!(queue.run(rows(row..row + 1), false, soon()).await.unwrap().0.values, [row as f32 * 2.0]);
        let until = soon();
        while queue.shared.lock().started {
            assert!(Instant::now() < until, "the thread stays");
            tokio::task::yield_now().await;
        }
    }
}
