use super::*;
use uuid::Uuid;

fn record(payload: &str, rows: u64, key: Option<&str>) -> NewRecord {
    let idempotency = key.map(|k| IdempotencyKey::new("me observe m", k, payload.as_bytes()));
    NewRecord { kind: "rows".to_owned(), rows, payload: payload.into(), idempotency, ..NewRecord::default() }
}

async fn made(s: &Store) -> (ModelName, Uuid) {
    let m = s.create_model(&model("m")).await.unwrap();
    (m.name, m.id)
}

#[tokio::test]
async fn records_are_numbered_by_rows_and_come_back_in_order() {
    on_both(|f| async move {
        let s = &f.store;
        let (name, id) = made(s).await;
        let records = vec![record("ten", 10, None), record("op", 0, None), record("one", 1, None)];
        let appended = s.append_observations(&name, id, records).await.unwrap();
        assert_eq!(appended.iter().map(|a| (a.seq, a.next)).collect::<Vec<_>>(), [(0, 10), (10, 11), (11, 12)]);
        assert_eq!(s.log_head(id).await.unwrap(), 12);
        let read = s.read_observations(id, 10, 100).await.unwrap();
        assert_eq!(read.iter().map(|r| r.payload.as_slice()).collect::<Vec<_>>(), [b"op".as_slice(), b"one"]);
        assert_eq!(s.read_observations(id, 0, 1).await.unwrap().len(), 1);
        let error = s.append_observations(&name, Uuid::now_v7(), vec![record("x", 1, None)]).await.unwrap_err();
        assert_eq!(error.code, "model_not_found");
        let state = |seq| LogSnapshot { seq, bytes: "state".into(), info: serde_json::json!({}) };
        let keep = LogKeep::default();
        assert!(!s.take_over_log(&name, id, state(11), &keep).await.unwrap());
        assert!(s.take_over_log(&name, id, state(12), &keep).await.unwrap());
        assert_eq!((s.log_head(id).await.unwrap(), s.log_snapshot(id).await.unwrap().unwrap().seq), (13, 13));
        assert_eq!(s.read_observations(id, 0, 100).await.unwrap(), []);
        s.save_log_snapshot(&name, id, state(12), &keep).await.unwrap();
        assert_eq!(s.log_snapshot(id).await.unwrap().unwrap().seq, 13);
    })
    .await;
}

#[tokio::test]
async fn many_at_once_through_two_replicas_leave_no_gap_and_lose_nothing() {
    on_both(|f| async move {
        let (name, id) = made(&f.store).await;
        let replicas = [f.store.clone(), f.replica().await];
        let appends = (0..200u64).map(|i| {
            let (s, name) = (replicas[i as usize % 2].clone(), name.clone());
            tokio::spawn(async move {
                let record = record(&i.to_string(), 1 + i % 3, None);
                s.append_observations(&name, id, vec![record]).await.unwrap()[0].seq
            })
        });
        let appends: Vec<_> = appends.collect();
        let mut seqs = Vec::new();
        for (i, append) in appends.into_iter().enumerate() {
            seqs.push((append.await.unwrap(), i.to_string().into_bytes()));
        }
        seqs.sort();
        let read = replicas[1].read_observations(id, 0, 1000).await.unwrap();
        assert_eq!(read.iter().map(|r| (r.seq, r.payload.clone())).collect::<Vec<_>>(), seqs);
        assert!(read.windows(2).all(|w| w[0].next == w[1].seq));
        assert_eq!(f.store.log_head(id).await.unwrap(), read.last().unwrap().next);
    })
    .await;
}

#[tokio::test]
async fn the_same_key_appends_once() {
    on_both(|f| async move {
        let s = &f.store;
        let (name, id) = made(s).await;
        let first = s.append_observations(&name, id, vec![record("a", 5, Some("k"))]).await.unwrap();
        let again = s.append_observations(&name, id, vec![record("a", 5, Some("k"))]).await.unwrap();
        assert!(!first[0].replayed && again[0].replayed && first[0].seq == again[0].seq);
        let other = s.append_observations(&name, id, vec![record("b", 5, None), record("b", 5, Some("k"))]).await;
        assert_eq!(other.unwrap_err().code, "idempotency_mismatch");
        assert_eq!(s.log_head(id).await.unwrap(), 5, "a request lands whole or not at all");
        // Retries that wait together, with valid requests between them.
        let both = [record("c", 1, Some("x")), record("d", 1, None), record("c", 1, Some("x"))];
        let appends = both.map(|r| s.append_observations(&name, id, vec![r]));
        let answers = futures::future::try_join_all(appends).await.unwrap();
        assert_eq!(answers[0][0].seq, answers[2][0].seq);
        assert_eq!(s.log_head(id).await.unwrap(), 7);
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_replaces_what_is_in_it() {
    on_both(|f| async move {
        let s = &f.store;
        let (name, id) = made(s).await;
        assert!(s.log_snapshot(id).await.unwrap().is_none());
        for i in 0..10 {
            s.append_observations(&name, id, vec![record(&i.to_string(), 1, None)]).await.unwrap();
        }
        let snapshot = |seq: u64| LogSnapshot { seq, bytes: Bytes::from(vec![seq as u8]), info: json!({ "n": seq }) };
        let keep = LogKeep { checkpoint: true, ..LogKeep::default() };
        s.save_log_snapshot(&name, id, snapshot(6), &keep).await.unwrap();
        s.save_log_snapshot(&name, id, snapshot(4), &keep).await.unwrap();
        assert_eq!(s.log_snapshot(id).await.unwrap().unwrap(), snapshot(6), "an older one changes nothing");
        let read = s.read_observations(id, 0, 100).await.unwrap();
        assert_eq!(read.iter().map(|r| r.seq).collect::<Vec<_>>(), [6, 7, 8, 9]);
        s.save_log_snapshot(&name, id, snapshot(10), &keep).await.unwrap();
        assert_eq!(s.log_head(id).await.unwrap(), 10);
        let f = f.reopen().await;
        assert_eq!(f.store.log_snapshot(id).await.unwrap().unwrap(), snapshot(10));
        if f.store.backend() == "sqlite" {
            assert_eq!(keys(&f.store, "logs").await.len(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn half_of_the_bytes_to_keep_stays_behind_a_snapshot_and_lines_are_erased() {
    on_both(|f| async move {
        let s = &f.store;
        let (name, id) = made(s).await;
        let keep = LogKeep { root: 1, bytes: 40, checkpoint: true, ..LogKeep::default() };
        let snapshot =
            |seq: u64| LogSnapshot { seq, bytes: Bytes::from(vec![seq as u8]), info: json!({"root": 1, "rows": seq}) };
        let append = async |count: usize| {
            for _ in 0..count {
                s.append_observations(&name, id, vec![record("a\nb\nc\nd\n", 4, None)]).await.unwrap();
            }
        };
        let numbers = async || {
            let read = s.read_log_history(id, 0, 100).await.unwrap();
            read.iter().map(|r| r.seq).collect::<Vec<_>>()
        };
        append(2).await;
        assert!(s.log_checkpoint(id, 1).await.unwrap().is_none());
        s.save_log_snapshot(&name, id, snapshot(8), &keep).await.unwrap();
        let oldest = s.log_checkpoint(id, 1).await.unwrap().unwrap();
        assert_eq!((oldest.seq, oldest.bytes.len()), (0, 0), "16 bytes are less than half of 40");
        append(1).await;
        s.save_log_snapshot(&name, id, snapshot(12), &keep).await.unwrap();
        append(3).await;
        s.save_log_snapshot(&name, id, snapshot(24), &keep).await.unwrap();
        assert_eq!(s.log_checkpoint(id, 1).await.unwrap().unwrap(), snapshot(12));
        assert_eq!(numbers().await, [12, 16, 20]);
        assert_eq!(s.read_observations(id, 0, 100).await.unwrap(), [], "all of it is in the snapshot");
        // Erasing removes the checkpoints that contain the lines, and the records that name them.
        let forget = NewRecord { kind: "forget".into(), payload: b"b".to_vec(), ..NewRecord::default() };
        s.append_observations(&name, id, vec![forget]).await.unwrap();
        let erase = LogKeep { erase: vec![(16, 1), (16, 3)], checkpoint: false, ..keep.clone() };
        s.save_log_snapshot(&name, id, snapshot(25), &erase).await.unwrap();
        let read = s.read_log_history(id, 0, 100).await.unwrap();
        assert_eq!(
            read.iter().map(|r| r.payload.as_slice()).collect::<Vec<_>>(),
            [&b"a\nb\nc\nd\n"[..], b"a\n\nc\n\n", b"a\nb\nc\nd\n"]
        );
        assert_eq!(s.log_checkpoint(id, 1).await.unwrap().unwrap(), snapshot(12));
        // A checkpoint that contained forgotten rows is replaced.
        let replace = LogKeep { replace_oldest: Some("clean".into()), ..keep.clone() };
        assert!(s.take_over_log(&name, id, snapshot(25), &replace).await.unwrap());
        assert_eq!(s.log_checkpoint(id, 1).await.unwrap().unwrap().bytes, "clean");
        // Another stream over the same log begins later.
        let other = LogKeep { root: 2, start: 26, ..keep };
        append(1).await;
        s.save_log_snapshot(&name, id, LogSnapshot { info: json!({"root": 2}), ..snapshot(30) }, &other).await.unwrap();
        assert!(s.log_checkpoint(id, 1).await.unwrap().is_none());
        assert_eq!((s.log_checkpoint(id, 2).await.unwrap().unwrap().seq, numbers().await), (26, vec![26]));
        let f = f.reopen().await;
        if f.store.backend() == "sqlite" {
            assert_eq!(keys(&f.store, "logs").await.len(), 1);
        }
    })
    .await;
}
