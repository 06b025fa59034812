use super::*;

#[tokio::test]
async fn a_dataset_is_replaced_whole_and_appended_in_order() {
    on_both(|f| async move {
        let s = &f.store;
        let name: DatasetName = "d".parse().unwrap();
        assert_eq!(s.dataset(&name).await.unwrap_err().code, "dataset_not_found");
        let part = stage(s, "a\n1\n").await;
        let (one, new) = s.put_dataset(&name, vec![part], &json!({ "v": 1 })).await.unwrap();
        assert!(new && one.revision == 1 && one.rows == 2 && one.bytes == 4 && one.columns == json!({ "v": 1 }));
        assert_eq!(one.digest, objects::digest(b"a\n1\n"), "the digest of a single part is the file's own");

        let part = stage(s, "2\n").await;
        let two = s.append_dataset(&name, 1, part, &json!({ "v": 2 })).await.unwrap();
        assert!(two.revision == 2 && two.rows == 3 && two.parts.len() == 2 && two.digest != one.digest);
        let part = stage(s, "3\n").await;
        assert_eq!(s.append_dataset(&name, 1, part, &json!({})).await.unwrap_err().code, "dataset_changed");
        let text = std::fs::read_to_string(s.part_path(&two.parts[1]).await.unwrap()).unwrap();
        assert_eq!(text, "2\n");

        let part = stage(s, "b\n").await;
        let (three, new) = s.put_dataset(&name, vec![part], &json!({ "v": 3 })).await.unwrap();
        assert!(!new && three.revision == 3 && three.rows == 1 && three.created_at == one.created_at);
        let f = f.reopen().await;
        assert_eq!(f.store.dataset(&name).await.unwrap(), three);
        if f.store.backend() == "sqlite" {
            assert_eq!(keys(&f.store, "datasets").await, [three.parts[0].key.clone()], "nothing else is left");
        }
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_fails_or_is_dropped_leaves_nothing() {
    on_both(|f| async move {
        let s = &f.store;
        let chunks = || (0..4).map(|_| Bytes::from_static(&[b'x'; 1000]));
        let all = futures::stream::iter(chunks().map(Ok::<_, crate::Error>));
        assert_eq!(s.stage(all, 3999).await.unwrap_err().code, "body_too_large");
        let broken =
            chunks().map(Ok::<_, crate::Error>).chain([Err(crate::Error::malformed("hung_up", "the client has gone"))]);
        assert_eq!(s.stage(futures::stream::iter(broken), 9999).await.unwrap_err().code, "hung_up");
        let staged = stage(s, "x").await;
        let path = staged.file.path().to_owned();
        assert!(path.exists());
        drop(staged);
        while path.exists() {
            tokio::task::yield_now().await;
        }
        assert!(keys(s, "").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_large_upload_keeps_its_digest() {
    on_both(|f| async move {
        let chunk = Bytes::from(vec![7u8; 1 << 20]);
        let chunks = std::iter::repeat_n(chunk, 20).map(Ok::<_, crate::Error>);
        let staged = f.store.stage(futures::stream::iter(chunks), 20 << 20).await.unwrap();
        assert_eq!(staged.bytes(), 20 << 20);
        assert_eq!(staged.digest(), objects::digest(&vec![7u8; 20 << 20]));
        assert_eq!(std::fs::metadata(staged.path()).unwrap().len(), 20 << 20);
    })
    .await;
}

#[tokio::test]
async fn a_job_reads_what_was_there_when_it_started() {
    on_both(|f| async move {
        let s = &f.store;
        let old = put(s, "d", "old\n").await;
        let mut job = train("m");
        job.dataset = Some(old.name.clone());
        s.submit_job(job, 10, None).await.unwrap();
        let claim = s.claim_job("w", LEASE).await.unwrap().unwrap();
        assert_eq!(s.delete_dataset(&old.name).await.unwrap_err().code, "dataset_in_use");
        let new = put(s, "d", "new\n").await;
        s.sweep().await.unwrap();
        let input = s.job_input(claim.job.id).await.unwrap().unwrap().dataset;
        assert_eq!(input, old);
        assert_eq!(s.objects().get(&input.parts[0].key).await.unwrap(), "old\n");
        // The same on a later attempt.
        s.release_job(&claim).await.unwrap();
        assert_eq!(s.delete_dataset(&old.name).await.unwrap_err().code, "dataset_in_use");
        let claim = s.claim_job("w", LEASE).await.unwrap().unwrap();
        assert_eq!(s.job_input(claim.job.id).await.unwrap().unwrap().dataset, old);
        s.publish_job(&claim, version("w")).await.unwrap();
        if s.backend() == "sqlite" {
            assert_eq!(keys(s, "datasets").await, [new.parts[0].key.clone()], "the old part went with its last reader");
        }
        s.delete_dataset(&old.name).await.unwrap();
        assert_eq!(s.delete_dataset(&old.name).await.unwrap_err().code, "dataset_not_found");
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_dataset_went_while_it_waited_fails() {
    on_both(|f| async move {
        let s = &f.store;
        let data = put(s, "d", "x\n").await;
        let mut job = train("m");
        job.dataset = Some("nope".parse().unwrap());
        assert_eq!(s.submit_job(job.clone(), 10, None).await.unwrap_err().code, "dataset_not_found");
        assert_eq!(s.model(&"m".parse().unwrap()).await.unwrap_err().code, "model_not_found", "nothing half-made");
        job.dataset = Some(data.name.clone());
        let (job, _) = s.submit_job(job, 10, None).await.unwrap();
        s.delete_dataset(&data.name).await.unwrap();
        assert!(s.claim_job("w", LEASE).await.unwrap().is_none());
        let job = s.job(job.id).await.unwrap();
        assert_eq!(job.status, JobStatus::Failed);
        assert_eq!(job.error.unwrap()["code"], "dataset_not_found");
    })
    .await;
}

#[tokio::test]
async fn lists_go_page_by_page() {
    on_both(|f| async move {
        for name in ["a", "b", "c", "d", "e"] {
            put(&f.store, name, "x\n").await;
        }
        let (mut cursor, mut names) = (None::<String>, Vec::new());
        loop {
            let page = f.store.datasets(2, cursor.as_deref()).await.unwrap();
            assert!(page.items.len() <= 2);
            names.extend(page.items.into_iter().map(|d| d.name.to_string()));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(names.concat(), "abcde");
    })
    .await;
}
