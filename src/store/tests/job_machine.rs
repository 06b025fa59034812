//! Random sequences of calls on the job store, compared with a model of it after each call.

use super::*;
use crate::store::jobs::Claim;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Submit {
        model: usize,
        priority: i64,
    },
    Claim {
        owner: usize,
        expired: bool,
    },
    Heartbeat {
        owner: usize,
        expired: bool,
    },
    Reap,
    Cancel(usize),
    Retry(usize),
    /// What a worker does with a claim, which may be an old one.
    Work(usize, Work),
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Checkpoint,
    Release,
    GiveBack,
    Kill,
    Fail,
    Stop,
    Publish,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let work = prop_oneof![
        3 => Just(Work::Checkpoint),
        1 => Just(Work::Release),
        1 => Just(Work::GiveBack),
        1 => Just(Work::Kill),
        1 => Just(Work::Fail),
        1 => Just(Work::Stop),
        1 => Just(Work::Publish)
    ];
    let one = prop_oneof![
        3 => (0..3usize, 0..2i64).prop_map(|(model, priority)| Call::Submit { model, priority }),
        4 => (0..2usize, any::<bool>()).prop_map(|(owner, expired)| Call::Claim { owner, expired }),
        2 => (0..2usize, any::<bool>()).prop_map(|(owner, expired)| Call::Heartbeat { owner, expired }),
        3 => Just(Call::Reap),
        1 => any::<usize>().prop_map(Call::Cancel),
        1 => any::<usize>().prop_map(Call::Retry),
        5 => (any::<usize>(), work).prop_map(|(claim, work)| Call::Work(claim, work)),
    ];
    vec(one, 1..60)
}

/// A job as the model has it, in the order of submission.
#[derive(Clone, Debug)]
struct Expected {
    id: JobId,
    model: usize,
    priority: i64,
    status: JobStatus,
    attempt: u64,
    owner: usize,
    expired: bool,
    cancel: bool,
    strikes: u64,
    step: u64,
    resumed: u64,
    beats: u64,
    kills: u64,
}

impl Expected {
    fn end(&mut self, status: JobStatus) {
        (self.status, self.step) = (status, 0);
    }

    /// Its worker was lost, or could not run it.
    fn back(&mut self, strike: u64) {
        if self.cancel {
            return self.end(JobStatus::Canceled);
        }
        self.strikes = if self.step > self.resumed { 0 } else { self.strikes + strike };
        if self.strikes >= 30 { self.end(JobStatus::Failed) } else { self.status = JobStatus::Queued }
    }
}

struct Machine {
    store: Store,
    jobs: Vec<Expected>,
    claims: Vec<Claim>,
}

fn lease(expired: bool) -> Duration {
    if expired { Duration::ZERO } else { LEASE }
}

impl Machine {
    async fn call(&mut self, call: &Call) {
        match *call {
            Call::Submit { model, priority } => self.submit(model, priority).await,
            Call::Claim { owner, expired } => self.claim(owner, expired).await,
            Call::Heartbeat { owner, expired } => self.heartbeat(owner, expired).await,
            Call::Reap => self.reap().await,
            Call::Cancel(at) if !self.jobs.is_empty() => self.cancel(at % self.jobs.len()).await,
            Call::Retry(at) if !self.jobs.is_empty() => self.retry(at % self.jobs.len()).await,
            Call::Work(at, work) if !self.claims.is_empty() => self.work(at % self.claims.len(), work).await,
            _ => {}
        }
        for expected in &self.jobs {
            let job = self.store.job(expected.id).await.unwrap();
            let found = (job.status, job.attempt, job.cancel_requested, job.kills);
            let wanted = (expected.status, expected.attempt, expected.cancel, expected.kills);
            assert_eq!(found, wanted, "after {call:?}: {expected:?}");
        }
        let queued = self.jobs.iter().filter(|job| job.status == JobStatus::Queued).count();
        assert_eq!(self.store.queue_depth().await.unwrap(), queued as u64);
    }

    async fn submit(&mut self, model: usize, priority: i64) {
        let new = NewJob { priority, ..train(["a", "b", "c"][model]) };
        let id = self.store.submit_job(new, 1000, None).await.unwrap().0.id;
        let status = JobStatus::Queued;
        self.jobs.push(Expected {
            id,
            model,
            priority,
            status,
            attempt: 0,
            owner: 0,
            expired: false,
            cancel: false,
            strikes: 0,
            step: 0,
            resumed: 0,
            beats: 0,
            kills: 0,
        });
    }

    async fn claim(&mut self, owner: usize, expired: bool) {
        let claimed = self.store.claim_job(["w0", "w1"][owner], lease(expired)).await.unwrap();
        let busy = |model| self.jobs.iter().any(|job| job.status == JobStatus::Running && job.model == model);
        let waiting = |job: &Expected| job.status == JobStatus::Queued && !busy(job.model);
        let waiting = (0..self.jobs.len()).filter(|&at| waiting(&self.jobs[at]));
        let next = waiting.min_by_key(|&at| (std::cmp::Reverse(self.jobs[at].priority), at));
        assert_eq!(claimed.as_ref().map(|claim| claim.job.id), next.map(|at| self.jobs[at].id));
        let (Some(claim), Some(at)) = (claimed, next) else { return };
        let job = &mut self.jobs[at];
        (job.status, job.owner, job.expired, job.beats) = (JobStatus::Running, owner, expired, 0);
        (job.attempt, job.resumed) = (job.attempt + 1, job.step);
        assert_eq!((claim.job.attempt, claim.job.resumed_from_step), (job.attempt, job.resumed));
        self.claims.push(claim);
    }

    async fn heartbeat(&mut self, owner: usize, expired: bool) {
        let held = self.store.heartbeat(["w0", "w1"][owner], lease(expired)).await.unwrap();
        let mut held: Vec<_> = held.into_iter().map(|held| (held.id, held.attempt, held.cancel_requested)).collect();
        let mut wanted = Vec::new();
        for job in self.jobs.iter_mut().filter(|job| job.status == JobStatus::Running && job.owner == owner) {
            (job.expired, job.beats) = (expired, job.beats + 1);
            wanted.push((job.id, job.attempt, job.cancel));
        }
        held.sort();
        wanted.sort();
        assert_eq!(held, wanted);
    }

    async fn reap(&mut self) {
        // Leases of no length are over then.
        next_millisecond().await;
        let moved = self.store.reap_expired().await.unwrap();
        let mut wanted = 0;
        for job in self.jobs.iter_mut().filter(|job| job.status == JobStatus::Running && job.expired) {
            job.back(if job.beats > 0 { 10 } else { 3 });
            wanted += 1;
        }
        assert_eq!(moved, wanted);
    }

    async fn cancel(&mut self, at: usize) {
        self.store.cancel_job(self.jobs[at].id).await.unwrap();
        let job = &mut self.jobs[at];
        match job.status {
            JobStatus::Queued => job.end(JobStatus::Canceled),
            JobStatus::Running => job.cancel = true,
            _ => {}
        }
    }

    async fn retry(&mut self, at: usize) {
        let done = self.store.retry_job(self.jobs[at].id).await;
        let job = &mut self.jobs[at];
        if !matches!(job.status, JobStatus::Failed | JobStatus::Canceled) {
            return assert_eq!(done.unwrap_err().code, "job_not_retryable");
        }
        done.unwrap();
        (job.status, job.strikes, job.kills, job.cancel) = (JobStatus::Queued, 0, 0, false);
    }

    async fn work(&mut self, at: usize, work: Work) {
        let (claim, store) = (&self.claims[at], &self.store);
        let job = self.jobs.iter_mut().find(|job| job.id == claim.job.id).unwrap();
        let owner = usize::from(claim.owner == "w1");
        let held = job.status == JobStatus::Running && job.attempt == claim.job.attempt && job.owner == owner;
        let step = job.step + 1;
        let killed = crate::Error::internal("killed");
        let done = match work {
            Work::Checkpoint => store.save_checkpoint(claim, step, vec![1]).await,
            Work::Release => store.release_job(claim).await,
            Work::GiveBack => store.give_back_job(claim).await,
            Work::Kill => store.count_kill(claim, &killed).await,
            Work::Fail => store.fail_job(claim, &killed).await,
            Work::Stop => store.fail_job(claim, &crate::Error::new(crate::Kind::Canceled, "canceled", "stopped")).await,
            Work::Publish => store.publish_job(claim, version("x")).await.map(drop),
        };
        if !held {
            return assert_eq!(done.unwrap_err().code, "lease_lost", "{work:?} with an old claim");
        }
        done.unwrap();
        match work {
            Work::Checkpoint => job.step = step,
            Work::Release => job.status = JobStatus::Queued,
            Work::GiveBack => job.back(10),
            Work::Kill if claim.job.kills > 0 => job.end(JobStatus::Failed),
            Work::Kill => (job.status, job.kills) = (JobStatus::Queued, job.kills + 1),
            Work::Fail => job.end(JobStatus::Failed),
            Work::Stop => job.end(JobStatus::Canceled),
            Work::Publish => job.end(JobStatus::Succeeded),
        }
    }
}

/// Runs sequences on fresh databases, which `url` makes.
fn compare(cases: u32, url: impl Fn(&tokio::runtime::Runtime) -> Option<String>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    proptest!(ProptestConfig { cases, max_shrink_iters: 200, ..ProptestConfig::default() }, |(calls in calls())| {
        let url = url(&runtime);
        runtime.block_on(async {
            let fixture = Fixture::new(url).await;
            let mut machine = Machine { store: fixture.store.clone(), jobs: Vec::new(), claims: Vec::new() };
            for call in &calls {
                machine.call(call).await;
            }
        });
    });
}

#[test]
fn the_job_store_behaves_as_its_model_on_sqlite() {
    compare(40, |_| None);
}

#[test]
fn the_job_store_behaves_as_its_model_on_postgres() {
    if let Some(server) = postgres::server() {
        compare(8, |runtime| Some(runtime.block_on(server.database())));
    }
}
