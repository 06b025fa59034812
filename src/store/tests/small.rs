use super::*;
use crate::store::idempotency::Answer;

#[tokio::test]
async fn a_retried_request_is_answered_as_before() {
    on_both(|f| async move {
        let s = &f.store;
        let key = IdempotencyKey::new("me POST /x", "k", b"body");
        assert_eq!(s.begin_idempotent(&key).await.unwrap(), Begun::Fresh);
        assert_eq!(s.begin_idempotent(&key).await.unwrap_err().code, "idempotency_in_flight");
        s.abandon_idempotent(&key).await.unwrap();
        assert_eq!(s.begin_idempotent(&key).await.unwrap(), Begun::Fresh);
        s.finish_idempotent(&key, 201, b"123".to_vec()).await.unwrap();
        let answer = Answer { status: 201, body: b"123".to_vec() };
        assert_eq!(s.begin_idempotent(&key).await.unwrap(), Begun::Replay(answer.clone()));
        s.abandon_idempotent(&key).await.unwrap();
        assert_eq!(s.begin_idempotent(&key).await.unwrap(), Begun::Replay(answer), "an answer is not abandoned");
        let other = IdempotencyKey::new("me POST /x", "k", b"other");
        assert_eq!(s.begin_idempotent(&other).await.unwrap_err().code, "idempotency_mismatch");
        next_millisecond().await;
        assert_eq!(s.prune_idempotency(Duration::ZERO).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_ends_on_every_replica() {
    on_both(|f| async move {
        let other = f.replica().await;
        let new = NewKey {
            name: "ci".to_owned(),
            scopes: vec![Scope::Predict],
            models: vec!["iris".to_owned()],
            expires_at: None,
        };
        assert!(!f.store.has_keys().await.unwrap());
        let (key, secret) = f.store.create_key(&new).await.unwrap();
        let mut changes = other.changes();
        let found = other.authenticate(&secret).await.unwrap();
        assert_eq!(found, key);
        assert!(found.allows(Scope::Predict) && !found.allows(Scope::Train));
        assert!(found.allows_model("iris") && !found.allows_model("other"));
        assert_eq!(other.authenticate("kenyon_00").await.unwrap_err().code, "invalid_key");
        assert!(!serde_json::to_string(&f.store.keys().await.unwrap()).unwrap().contains(&secret));
        f.store.delete_key(&key.id).await.unwrap();
        // The message of making the key may still be on its way, too.
        while other.authenticate(&secret).await.is_ok() {
            changes.recv().await.unwrap();
        }
        assert_eq!(f.store.delete_key(&key.id).await.unwrap_err().code, "key_not_found");
        let past = Some(jiff::Timestamp::UNIX_EPOCH);
        let (_, secret) = f.store.create_key(&NewKey { expires_at: past, ..new }).await.unwrap();
        assert_eq!(f.store.authenticate(&secret).await.unwrap_err().code, "invalid_key");
    })
    .await;
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    on_both(|f| async move {
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'later', $1, $2, 0)";
        f.store.inner.db.exec(db::sql(later).bind(true).bind(vec![1u8])).await.unwrap();
        f.store.close().await;
        let options = f.options.clone();
        let Fixture { store, _folder, .. } = f;
        drop(store);
        let error = Store::open(&options).await.unwrap_err();
        assert_eq!(error.code, "database_incompatible");
        assert!(error.detail.contains("newer version"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn one_process_a_data_folder() {
    let f = Fixture::new(None).await;
    let file = std::fs::File::open(f.options.data_dir.join("lock")).unwrap();
    assert!(file.try_lock().is_err());
    f.store.ping().await.unwrap();
    f.store.objects().check().await.unwrap();
    f.store.close().await;
    assert_eq!(f.store.ping().await.unwrap_err().code, "database_unavailable");
}

#[tokio::test]
async fn a_snapshot_restores_everything_on_either_database() {
    on_both(|f| async move {
        let s = &f.store;
        let data = put(s, "d", "x\n1\n").await;
        let mut job = train("m");
        job.dataset = Some(data.name.clone());
        s.submit_job(job.clone(), 9, None).await.unwrap();
        let claim = s.claim_job("w", LEASE).await.unwrap().unwrap();
        s.publish_job(&claim, version("w")).await.unwrap();
        s.submit_job(job, 9, None).await.unwrap();
        let claim = s.claim_job("w", LEASE).await.unwrap().unwrap();
        s.save_checkpoint(&claim, 5, vec![5]).await.unwrap();
        let m = s.model(&"m".parse().unwrap()).await.unwrap();
        let record = NewRecord { kind: "rows".to_owned(), rows: 3, payload: vec![0, 255], ..NewRecord::default() };
        s.append_observations(&m.name, m.id, vec![record]).await.unwrap();
        let new = NewKey { name: "k".to_owned(), scopes: vec![Scope::Admin], models: vec![], expires_at: None };
        let (key, secret) = s.create_key(&new).await.unwrap();
        let file = f.options.data_dir.join("copy.tar");
        let manifest = s.write_snapshot(&file).await.unwrap();
        assert_eq!(manifest.objects, 4);

        let mut targets = vec![None];
        if let Some(server) = postgres::server() {
            targets.push(Some(server.database().await));
        }
        for database_url in targets {
            let folder = tempfile::tempdir().unwrap();
            let options = StoreOptions { data_dir: folder.path().to_owned(), database_url, objects_url: None };
            assert_eq!(snapshot::restore(&file, &options).await.unwrap(), manifest);
            let twice = snapshot::restore(&file, &options).await.unwrap_err();
            assert_eq!(twice.code, "store_not_empty");
            let r = Store::open(&options).await.unwrap();
            assert_eq!(r.dataset(&data.name).await.unwrap(), data);
            assert_eq!(std::fs::read(r.part_path(&data.parts[0]).await.unwrap()).unwrap(), b"x\n1\n");
            assert_eq!(r.model(&m.name).await.unwrap(), m);
            assert_eq!(r.versions(&m.name).await.unwrap(), s.versions(&m.name).await.unwrap());
            assert_eq!(r.read_observations(m.id, 0, 9).await.unwrap(), s.read_observations(m.id, 0, 9).await.unwrap());
            assert_eq!(r.authenticate(&secret).await.unwrap(), key);
            assert_eq!(r.load_checkpoint(claim.job.id).await.unwrap().unwrap().0, 5);
            let events = |s: Store| async move { s.job_events(claim.job.id, 0, 2).await.unwrap() };
            assert_eq!(events(r.clone()).await, events(s.clone()).await);
        }
        std::fs::write(&file, b"not a tar").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions { data_dir: folder.path().to_owned(), ..StoreOptions::default() };
        assert_eq!(snapshot::restore(&file, &options).await.unwrap_err().code, "invalid_snapshot");
    })
    .await;
}

#[tokio::test]
async fn the_snapshot_knows_every_column_of_every_table() {
    let f = Fixture::new(None).await;
    let list = "SELECT m.name AS t, p.name AS c FROM sqlite_master m, pragma_table_info(m.name) p
        WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name <> 'idempotency'";
    let mut there: Vec<(String, String)> = Vec::new();
    for row in f.store.inner.db.all(db::sql(list)).await.unwrap() {
        there.push((row.get("t").unwrap(), row.get("c").unwrap()));
    }
    let mut known = snapshot::known_columns();
    there.sort();
    known.sort();
    assert_eq!(there, known);
}
