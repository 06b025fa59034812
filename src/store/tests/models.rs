use super::*;

fn name() -> ModelName {
    "m".parse().unwrap()
}

async fn states(s: &Store) -> Vec<(u64, VersionState)> {
    s.versions(&name()).await.unwrap().into_iter().map(|v| (v.version, v.state)).collect()
}

#[tokio::test]
async fn versions_are_served_promoted_and_rolled_back() {
    use VersionState::{Ready, Retired, Served, Shadow};
    on_both(|f| async move {
        let s = &f.store;
        assert_eq!(s.publish_version(&name(), version("0")).await.unwrap_err().code, "model_not_found");
        let made = s.create_model(&model("m")).await.unwrap();
        assert_eq!(made.traffic, Traffic::default());
        assert_eq!(s.create_model(&model("m")).await.unwrap_err().code, "model_exists");
        assert_eq!(s.rollback(&name()).await.unwrap_err().code, "no_earlier_version");
        for weights in ["1", "2", "3"] {
            s.publish_version(&name(), version(weights)).await.unwrap();
        }
        assert_eq!(states(s).await, [(3, Served), (2, Retired), (1, Retired)]);
        let v = s.version(&name(), 2).await.unwrap();
        assert_eq!(s.version_files(&v).await.unwrap()[1], ("weights".to_owned(), Bytes::from_static(b"2")));
        let m = s.rollback(&name()).await.unwrap();
        assert_eq!(m.traffic.stable, Some(2));
        assert_eq!(s.rollback(&name()).await.unwrap().traffic.stable, Some(1), "back twice is two back");
        assert_eq!(s.promote(&name(), 3).await.unwrap().traffic.stable, Some(3));
        assert_eq!(s.rollback(&name()).await.unwrap().traffic.stable, Some(1));
        assert_eq!(s.promote(&name(), 9).await.unwrap_err().code, "version_not_found");

        let canary = Some(Canary { version: 2, weight: 0.25 });
        let traffic = Traffic { stable: None, canary, shadow: Some(3) };
        let m = s.set_traffic(&name(), &traffic).await.unwrap();
        assert_eq!(m.traffic, Traffic { stable: Some(1), ..traffic.clone() }, "what is served stays");
        assert_eq!(states(s).await, [(3, Shadow), (2, VersionState::Canary), (1, Served)]);
        s.publish_version(&name(), version("4")).await.unwrap();
        assert_eq!(states(s).await[0], (4, Ready), "a trial is not disturbed");
        let traffic = Traffic { canary: Some(Canary { version: 2, weight: 1.5 }), ..traffic };
        assert_eq!(s.set_traffic(&name(), &traffic).await.unwrap_err().code, "invalid_weight");
        s.promote(&name(), 2).await.unwrap();
        assert_eq!(s.model(&name()).await.unwrap().traffic.canary, None);
    })
    .await;
}

#[tokio::test]
async fn a_model_is_made_with_its_first_version_or_not_at_all() {
    on_both(|f| async move {
        let s = &f.store;
        let made = s.create_model_with(&model("m"), version("1")).await.unwrap();
        assert_eq!(made.traffic.stable, Some(1));
        let stored = keys(s, "models").await;
        assert_eq!(s.create_model_with(&model("m"), version("2")).await.unwrap_err().code, "model_exists");
        assert_eq!((states(s).await, keys(s, "models").await), (vec![(1, VersionState::Served)], stored));
        s.publish_version(&name(), version("2")).await.unwrap();
        assert_eq!(states(s).await[0], (2, VersionState::Served));
    })
    .await;
}

#[tokio::test]
async fn a_late_training_does_not_replace_a_newer_version() {
    on_both(|f| async move {
        let s = &f.store;
        s.submit_job(train("m"), 9, None).await.unwrap();
        let urgent = NewJob { priority: 9, ..train("m") };
        s.submit_job(urgent, 9, None).await.unwrap();
        for _ in 0..2 {
            let claim = s.claim_job("w", LEASE).await.unwrap().unwrap();
            s.publish_job(&claim, version("x")).await.unwrap();
        }
        assert_eq!(states(s).await, [(2, VersionState::Served), (1, VersionState::Ready)]);
    })
    .await;
}

#[tokio::test]
async fn a_removed_model_takes_its_jobs_and_files_with_it() {
    on_both(|f| async move {
        let s = &f.store;
        s.submit_job(train("m"), 9, None).await.unwrap();
        let (waiting, _) = s.submit_job(train("m"), 9, None).await.unwrap();
        let claim = s.claim_job("w", LEASE).await.unwrap().unwrap();
        s.delete_model(&name()).await.unwrap();
        assert_eq!(s.delete_model(&name()).await.unwrap_err().code, "model_not_found");
        assert_eq!(s.job(waiting.id).await.unwrap().status, JobStatus::Canceled);
        assert!(s.job(claim.job.id).await.unwrap().cancel_requested);
        s.create_model(&model("m")).await.unwrap();
        assert_eq!(s.publish_job(&claim, version("late")).await.unwrap_err().code, "model_not_found");
        assert!(states(s).await.is_empty(), "the new model of the name is another one");
        assert!(keys(s, "models").await.is_empty());
        s.publish_version(&name(), version("x")).await.unwrap();
        s.delete_model(&name()).await.unwrap();
        if s.backend() == "sqlite" {
            assert!(keys(s, "models").await.is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn damage_to_a_file_is_noticed() {
    let f = Fixture::new(None).await;
    f.store.create_model(&model("m")).await.unwrap();
    let v = f.store.publish_version(&name(), version("good")).await.unwrap();
    f.store.objects().put(&v.files[1].key, Bytes::from_static(b"evil")).await.unwrap();
    assert_eq!(f.store.version_files(&v).await.unwrap_err().code, "internal");
}
