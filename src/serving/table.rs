//! The models that are open here: their routing tables, and the loaded versions, within a
//! bound on memory. Nothing here runs a network.

use super::clock::unix_millis;
use super::library::{Files, Library, Traffic};
use super::loaded_version::{LoadedVersion, VersionName};
use super::open_models::OpenModels;
use super::routing::{Route, Slot, threshold};
use super::settings::Settings;
use super::stats::{Series, Stats};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Mutex, spawn_blocking, timeout};
use crate::{Error, Kind, Result};
use futures::future::BoxFuture;
use kenyon_learn::learning::bundle::Bundle;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How long a request waits for a commit that changes its model before it is answered from the current table.
const SETTLE_PATIENCE: Duration = Duration::from_secs(1);

/// Called with each version that was loaded, before it answers a request; where it fails the version does not answer.
/// The hook must not have a version loaded itself.
pub(super) type LoadHook = Arc<dyn Fn(Arc<LoadedVersion>) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// See the module documentation.
pub(super) struct Table {
    library: Arc<dyn Library>,
    settings: Settings,
    load_hook: std::sync::OnceLock<LoadHook>,
    models: OpenModels,
    /// Bytes of what was loaded since it was last counted what is loaded: more than there are.
    loaded_bytes: AtomicU64,
    /// Held while tables change, so that changes are sequential.
    changing: tokio::sync::Mutex<()>,
    /// The bundle of a version that a job here is about to publish.
    prepared: Mutex<Option<(Uuid, u64, Bundle)>>,
    /// Counts of versions that are no longer open, so that totals never fall.
    retired: Mutex<Stats>,
}

/// The versions that a request needs.
pub(super) struct Selection {
    pub(super) loaded: Arc<LoadedVersion>,
    pub(super) shadow: Option<Arc<Slot>>,
}

impl Table {
    pub(super) fn new(library: Arc<dyn Library>, settings: Settings) -> Self {
        Self {
            library,
            settings,
            load_hook: std::sync::OnceLock::new(),
            models: OpenModels::new(),
            loaded_bytes: AtomicU64::new(0),
            changing: tokio::sync::Mutex::default(),
            prepared: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    pub(super) fn on_load(&self, hook: LoadHook) {
        // The first hook is kept: there is one set of streams a process.
        let _ = self.load_hook.set(hook);
    }

    /// The version that answers: the one named, or the one from the traffic split.
    pub(super) async fn select(&self, model: &str, version: Option<u64>, request_id: &str) -> Result<Selection> {
        let route = self.current(model).await?;
        let slot = match version {
            None => route.select(request_id).cloned(),
            Some(version) => match route.slots.get(&version) {
                Some(slot) => Some(Arc::clone(slot)),
                None => Some(self.open_version(model, route.id, version).await?),
            },
        };
        let slot = slot.ok_or_else(|| not_ready(model))?;
        let shadow = route.shadow.clone().filter(|s| version.is_none() && s.version != slot.version);
        let loaded = match slot.ready() {
            Some(loaded) => loaded,
            None => self.load(model, &slot).await?,
        };
        Ok(Selection { loaded, shadow })
    }

    /// The id of the model that has this name now, and the version it serves.
    pub(super) async fn identity(&self, model: &str) -> Result<(Uuid, Option<u64>)> {
        let route = self.current(model).await?;
        Ok((route.id, route.stable.as_ref().map(|slot| slot.version)))
    }

    /// The routing table of a model, no older than the last change that was visible before this call.
    async fn current(&self, model: &str) -> Result<Arc<Route>> {
        let Some(place) = self.models.get(model) else {
            return self.open_anew(model, None).await;
        };
        let (counter, route) = (self.library.counter(), place.load_full());
        if route.checked.load(Relaxed) == counter {
            return Ok(route);
        }
        let settled = timeout(SETTLE_PATIENCE, self.library.settled(model)).await;
        let settled = settled.ok();
        if settled.is_some_and(|changed| changed <= route.read_at) {
            route.checked.store(counter, Relaxed);
            return Ok(route);
        }
        match self.open_anew(model, settled).await {
            // Predicting continues while the database is unavailable.
            Err(error) if error.kind != Kind::NotFound => {
                tracing::warn!(model, %error, "a model's traffic could not be read");
                Ok(route)
            }
            other => other,
        }
    }

    /// The version if it is loaded, without loading anything.
    pub(super) fn peek(&self, model: &str, version: Option<u64>) -> Option<Arc<LoadedVersion>> {
        let route = self.models.get(model)?.load_full();
        match version {
            Some(version) => route.slots.get(&version)?.ready(),
            None => route.stable.as_ref()?.ready(),
        }
    }

    /// Loads a version once for all requests, and evicts others beyond the memory limit.
    pub(super) async fn load(&self, model: &str, slot: &Slot) -> Result<Arc<LoadedVersion>> {
        let _loading = slot.loading.lock().await;
        if let Some(loaded) = slot.ready() {
            return Ok(loaded);
        }
        let prepared = self.take_prepared(slot);
        let files = match &prepared {
            Some(_) => Files::new(),
            None => self.library.files(model, slot.model_id, slot.version).await?,
        };
        let name = VersionName { model: model.into(), model_id: slot.model_id, version: slot.version };
        let (limits, stats) = (self.settings.limits, Arc::clone(&slot.stats));
        let loading = spawn_blocking(move || {
            let file = |name: &str| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &bytes[..]);
            let bundle = prepared.map_or_else(|| Bundle::load(file), Ok)?;
            let sample = bundle.sample();
            let loaded = LoadedVersion::new(name, bundle, limits, stats);
            if let Some(sample) = sample {
                loaded.queue.measure(&sample);
            }
            Ok::<_, kenyon_learn::Error>(Arc::new(loaded))
        });
        let loaded = loading.await.map_err(Error::internal)?.map_err(|error| unreadable(error.into()))?;
        loaded.touch(unix_millis());
        if let Some(hook) = self.load_hook.get() {
            hook(Arc::clone(&loaded)).await?;
        }
        slot.loaded.store(Some(Arc::clone(&loaded)));
        tracing::info!(model, version = slot.version, bytes = loaded.bytes(), "a version was loaded");
        self.evict_beyond_budget(&loaded);
        Ok(loaded)
    }

    /// Keeps the bundle of a version that is about to be published, so that the first request after its
    /// publication need not wait for it to be read. Only for models that are in use here.
    pub(super) fn prepare(&self, model: &str, id: Uuid, version: u64, bundle: Bundle) {
        if self.models.get(model).is_some_and(|place| place.load().id == id) {
            *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, version, bundle));
        }
    }

    fn take_prepared(&self, slot: &Slot) -> Option<Bundle> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, _, bundle) = prepared.take_if(|(id, version, _)| (*id, *version) == (slot.model_id, slot.version))?;
        Some(bundle)
    }

    /// Drops the versions that were used the longest ago until the rest fits. Requests that
    /// hold one finish with it.
    ///
    /// With thousands of models this is not counted at every load. Where something must go, a sixteenth of the limit goes
    /// with it, so that the next loads need not count either.
    fn evict_beyond_budget(&self, keep: &Arc<LoadedVersion>) {
        let budget = self.settings.cache_bytes;
        if self.loaded_bytes.fetch_add(keep.bytes(), Relaxed) + keep.bytes() <= budget {
            return;
        }
        let mut found: Vec<(Arc<Slot>, Arc<LoadedVersion>)> = Vec::new();
        self.each_slot(|_, slot| found.extend(slot.loaded.load_full().map(|loaded| (Arc::clone(slot), loaded))));
        let mut bytes: u64 = found.iter().map(|(_, loaded)| loaded.bytes()).sum();
        let most = if bytes > budget { budget - budget / 16 } else { budget };
        found.sort_by_key(|(_, loaded)| loaded.last_used());
        for (slot, loaded) in found {
            if bytes <= most {
                break;
            }
            if !Arc::ptr_eq(&loaded, keep) {
                bytes -= loaded.bytes();
                slot.loaded.store(None);
                tracing::info!(model = &*loaded.model, version = loaded.version, "a version was evicted");
            }
        }
        self.loaded_bytes.store(bytes, Relaxed);
    }

    /// Reads a model's traffic again; new versions are loaded before the switch if the model is in use.
    ///
    /// # Errors
    /// Also where the new stable version cannot be loaded: a change that is acknowledged is seen.
    pub(super) async fn refresh(&self, model: &str) -> Result<()> {
        if self.models.get(model).is_none() {
            return Ok(());
        }
        let route = self.open_anew(model, None).await?;
        if let Some(missing) = &route.missing {
            self.load(model, missing).await?;
            self.open_anew(model, None).await?;
        }
        Ok(())
    }

    /// Names of the models that are open here.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        self.models.each(|model, _| names.push(Arc::clone(model)));
        names
    }

    /// Reads a model's traffic from the library, unless the table is as new as `changed` by now.
    async fn open_anew(&self, model: &str, changed: Option<u64>) -> Result<Arc<Route>> {
        let _changing = self.changing.lock().await;
        if let (Some(changed), Some(place)) = (changed, self.models.get(model)) {
            let route = place.load_full();
            if changed <= route.read_at {
                return Ok(route);
            }
        }
        // In this order: a change that begins after the counter was read is found by the next request.
        let read_at = self.library.counter();
        let settled = timeout(SETTLE_PATIENCE, self.library.settled(model)).await;
        let traffic = match self.library.traffic(model).await {
            Ok(traffic) => traffic,
            Err(error) => {
                if error.kind == Kind::NotFound {
                    self.close(model);
                }
                return Err(error);
            }
        };
        let old = self.models.get(model).map(|route| route.load_full()).filter(|old| old.id == traffic.id);
        let mut route = self.route(model, &traffic, old.as_deref()).await;
        route.read_at = read_at;
        // A change that takes long is checked again at every request.
        route.checked = AtomicU64::new(if settled.is_ok() { read_at } else { u64::MAX });
        let route = Arc::new(route);
        // Versions without traffic are dropped; a request that names one loads it again. Their counts move to the retired
        // ones in the same moment as they leave the table, as metrics see it.
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in old.iter().flat_map(|old| old.slots.values()) {
            if !route.slots.contains_key(&slot.version) {
                slot.loaded.store(None);
                retired.add(&slot.stats);
            }
        }
        if let Some(place) = self.models.get(model) {
            place.store(Arc::clone(&route));
            return Ok(route);
        }
        self.models.insert(model, Arc::clone(&route));
        Ok(route)
    }

    /// The routing table for `traffic`, keeping the places of `old`. If a new stable version cannot
    /// be loaded, the old one stays.
    async fn route(&self, model: &str, traffic: &Traffic, old: Option<&Route>) -> Route {
        let mut slots = HashMap::new();
        let mut slot = |version: u64| -> Arc<Slot> {
            let known = old.and_then(|old| old.slots.get(&version)).cloned();
            let slot = known.unwrap_or_else(|| Arc::new(Slot::new(traffic.id, version)));
            slots.insert(version, Arc::clone(&slot));
            slot
        };
        let (mut stable, mut missing) = (traffic.stable.map(&mut slot), None);
        let canary = traffic.canary.map(|c| (slot(c.version), threshold(c.weight)));
        let shadow = traffic.shadow.map(&mut slot);
        let in_use = old.and_then(|old| old.stable.as_ref()).filter(|s| s.loaded.load().is_some());
        if let (Some(new), Some(in_use)) = (&stable, in_use)
            && new.ready().is_none()
            && let Err(error) = self.load(model, new).await
        {
            tracing::error!(model, version = new.version, %error, "a version cannot be loaded; the one before stays");
            slots.insert(in_use.version, Arc::clone(in_use));
            missing = stable.replace(Arc::clone(in_use));
        }
        Route { id: traffic.id, read_at: 0, checked: AtomicU64::new(u64::MAX), stable, missing, canary, shadow, slots }
    }

    /// A slot for a version that is requested by number.
    async fn open_version(&self, model: &str, id: Uuid, version: u64) -> Result<Arc<Slot>> {
        let slot = Arc::new(Slot::new(id, version));
        // Fails when there is no such version, so that requests for arbitrary version numbers add no entry.
        self.load(model, &slot).await?;
        let _changing = self.changing.lock().await;
        let Some(place) = self.models.get(model) else { return Ok(slot) };
        let old = place.load_full();
        if old.id != id {
            return Ok(slot);
        }
        if let Some(known) = old.slots.get(&version) {
            return Ok(Arc::clone(known));
        }
        let mut slots = old.slots.clone();
        slots.insert(version, Arc::clone(&slot));
        let (stable, missing) = (old.stable.clone(), old.missing.clone());
        let (canary, shadow) = (old.canary.clone(), old.shadow.clone());
        let (read_at, checked) = (old.read_at, AtomicU64::new(old.checked.load(Relaxed)));
        place.store(Arc::new(Route { id, read_at, checked, stable, missing, canary, shadow, slots }));
        Ok(slot)
    }

    /// Forgets a model that is no more. Called with `changing` held.
    fn close(&self, model: &str) {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = self.models.get(model) {
            place.load().slots.values().for_each(|slot| retired.add(&slot.stats));
        }
        self.models.remove(model);
    }

    /// Calls `each` with every known version of every open model.
    pub(super) fn each_slot(&self, mut each: impl FnMut(&Arc<str>, &Arc<Slot>)) {
        self.models.each(|model, route| route.load().slots.values().for_each(|slot| each(model, slot)));
    }

    /// The shadow of a model, if it has one.
    pub(super) fn shadow(&self, model: &str) -> Option<Arc<Slot>> {
        self.models.get(model)?.load().shadow.clone()
    }

    /// Calls `each` with the metrics of every version, in a fixed order.
    pub(super) fn series<R>(&self, each: impl FnOnce(&[Series<'_>], &Stats) -> R) -> R {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = Vec::new();
        self.each_slot(|model, slot| slots.push((Arc::clone(model), Arc::clone(slot))));
        slots.sort_by(|a, b| (&a.0, a.1.version).cmp(&(&b.0, b.1.version)));
        let queued = |slot: &Slot| slot.loaded.load().as_ref().map_or(0, |loaded| loaded.queue.queued_rows());
        let one = |(model, slot): &'_ (Arc<str>, Arc<Slot>)| (queued(slot), model.clone(), slot.clone());
        let kept: Vec<_> = slots.iter().map(one).collect();
        let series: Vec<_> = kept
            .iter()
            .map(|(queued_rows, model, slot)| Series {
                model,
                version: slot.version,
                stats: &slot.stats,
                queued_rows: *queued_rows,
            })
            .collect();
        each(&series, &retired)
    }
}

fn not_ready(model: &str) -> Error {
    Error::new(Kind::Unavailable, "no_version", format!("model {model} has no version that is ready to answer"))
        .with_retry_after(1)
}

/// A stored bundle that cannot be read is an internal error, not one of the request.
fn unreadable(error: Error) -> Error {
    Error::internal(format!("a stored bundle cannot be read: {error}"))
}
