use super::*;
use uuid::Uuid;

fn record(payload: &str, rows: u64, key: Option<&str>) -> NewRecord {
    let idempotency = key.map(|k| IdempotencyKey::new("me observe m", k, payload.as_bytes()));
    NewRecord { kind: "rows".to_owned(), rows, payload: payload.into(), idempotency }
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
        assert!(!s.take_over_log(&name, id, state(11)).await.unwrap());
        assert!(s.take_over_log(&name, id, state(12)).await.unwrap());
        assert_eq!((s.log_head(id).await.unwrap(), s.log_snapshot(id).await.unwrap().unwrap().seq), (13, 13));
        assert_eq!(s.read_observations(id, 0, 100).await.unwrap(), []);
        s.save_log_snapshot(&name, id, state(12)).await.unwrap();
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
        s.save_log_snapshot(&name, id, snapshot(6)).await.unwrap();
        s.save_log_snapshot(&name, id, snapshot(4)).await.unwrap();
        assert_eq!(s.log_snapshot(id).await.unwrap().unwrap(), snapshot(6), "an older one changes nothing");
        let read = s.read_observations(id, 0, 100).await.unwrap();
        assert_eq!(read.iter().map(|r| r.seq).collect::<Vec<_>>(), [6, 7, 8, 9]);
        s.save_log_snapshot(&name, id, snapshot(10)).await.unwrap();
        assert_eq!(s.log_head(id).await.unwrap(), 10);
        let f = f.reopen().await;
        assert_eq!(f.store.log_snapshot(id).await.unwrap().unwrap(), snapshot(10));
        if f.store.backend() == "sqlite" {
            assert_eq!(keys(&f.store, "logs").await.len(), 1);
        }
    })
    .await;
}
