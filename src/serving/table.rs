//! The models that are open here: their routing tables, and the versions that are loaded, within a
//! bound on memory. Nothing here runs a network.

use super::clock::unix_millis;
use super::library::{Library, Traffic};
use super::loaded_version::LoadedVersion;
use super::routing::{Route, Slot, threshold};
use super::settings::Settings;
use super::stats::Series;
use crate::{Error, Kind, Result};
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use kenyon_learn::learning::bundle::Bundle;
use std::collections::HashMap;
use std::sync::Arc;

type Models = HashMap<Arc<str>, Arc<ArcSwap<Route>>>;

/// Told of each version that was loaded; it answers nobody before the hook has ended. The hook must
/// not ask for a version to be loaded itself.
pub(super) type LoadHook = Arc<dyn Fn(Arc<LoadedVersion>) -> BoxFuture<'static, ()> + Send + Sync>;

/// See the module.
pub(super) struct Table {
    library: Arc<dyn Library>,
    settings: Settings,
    loaded: std::sync::OnceLock<LoadHook>,
    models: ArcSwap<Models>,
    /// Held while tables change, so that changes follow one another.
    changing: tokio::sync::Mutex<()>,
}

/// What a request needs to be answered.
pub(super) struct Selection {
    pub(super) live: Arc<LoadedVersion>,
    pub(super) shadow: Option<Arc<Slot>>,
}

impl Table {
    pub(super) fn new(library: Arc<dyn Library>, settings: Settings) -> Self {
        Self {
            library,
            settings,
            loaded: std::sync::OnceLock::new(),
            models: ArcSwap::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn on_load(&self, hook: LoadHook) {
        // The first stays: there is one set of streams a process.
        let _ = self.loaded.set(hook);
    }

    /// The version that answers: the one that is named, or what the traffic split says.
    pub(super) async fn pick(&self, model: &str, version: Option<u64>, request_id: &str) -> Result<Selection> {
        let known = self.models.load().get(model).cloned();
        let route = match known {
            Some(route) => route,
            None => self.open(model).await?,
        };
        let route = route.load();
        let slot = match version {
            None => route.pick(request_id).cloned(),
            Some(version) => match route.slots.get(&version) {
                Some(slot) => Some(Arc::clone(slot)),
                None => Some(self.open_version(model, version).await?),
            },
        };
        let slot = slot.ok_or_else(|| not_ready(model))?;
        let shadow = route.shadow.clone().filter(|s| version.is_none() && s.version != slot.version);
        drop(route);
        let live = match slot.ready() {
            Some(live) => live,
            None => self.load(model, &slot).await?,
        };
        Ok(Selection { live, shadow })
    }

    /// The version if it is loaded, without loading anything.
    pub(super) fn peek(&self, model: &str, version: Option<u64>) -> Option<Arc<LoadedVersion>> {
        let route = self.models.load().get(model)?.load_full();
        match version {
            Some(version) => route.slots.get(&version)?.ready(),
            None => route.stable.as_ref()?.ready(),
        }
    }

    /// Loads a version once, however many ask for it, and makes room for it.
    pub(super) async fn load(&self, model: &str, slot: &Slot) -> Result<Arc<LoadedVersion>> {
        let _loading = slot.loading.lock().await;
        if let Some(live) = slot.ready() {
            return Ok(live);
        }
        let files = self.library.files(model, slot.version).await?;
        let loaded = tokio::task::spawn_blocking(move || {
            Bundle::load(|name| files.iter().find(|(n, _)| n == name).map(|(_, bytes)| &bytes[..]))
        });
        let bundle = loaded.await.map_err(Error::internal)?.map_err(|error| unreadable(error.into()))?;
        let live =
            LoadedVersion::new(model.into(), slot.version, bundle, self.settings.limits, Arc::clone(&slot.stats));
        let live = Arc::new(live);
        live.touch(unix_millis());
        if let Some(hook) = self.loaded.get() {
            hook(Arc::clone(&live)).await;
        }
        slot.live.store(Some(Arc::clone(&live)));
        tracing::info!(model, version = slot.version, bytes = live.bytes(), "a version was loaded");
        self.make_room(&live);
        Ok(live)
    }

    /// Lets go of the versions that were used the longest ago until the rest fits. Requests that
    /// hold one finish with it.
    fn make_room(&self, keep: &Arc<LoadedVersion>) {
        let mut loaded: Vec<(Arc<Slot>, Arc<LoadedVersion>)> = Vec::new();
        self.each_slot(|_, slot| loaded.extend(slot.live.load_full().map(|live| (Arc::clone(slot), live))));
        let mut bytes: u64 = loaded.iter().map(|(_, live)| live.bytes()).sum();
        loaded.sort_by_key(|(_, live)| live.last_used());
        for (slot, live) in loaded {
            if bytes <= self.settings.cache_bytes {
                break;
            }
            if !Arc::ptr_eq(&live, keep) {
                bytes -= live.bytes();
                slot.live.store(None);
                tracing::info!(model = &*live.model, version = live.version, "a version made room");
            }
        }
    }

    /// Takes a model's traffic anew; what it names is loaded before the switch if the model is in use.
    pub(super) async fn refresh(&self, model: &str) -> Result<()> {
        if self.models.load().contains_key(model) { self.open_anew(model).await.map(|_| ()) } else { Ok(()) }
    }

    /// Names of the models that are open here.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.models.load().keys().cloned().collect()
    }

    async fn open(&self, model: &str) -> Result<Arc<ArcSwap<Route>>> {
        self.open_anew(model).await
    }

    async fn open_anew(&self, model: &str) -> Result<Arc<ArcSwap<Route>>> {
        let _changing = self.changing.lock().await;
        let traffic = match self.library.traffic(model).await {
            Ok(traffic) => traffic,
            Err(error) => {
                if error.kind == Kind::NotFound {
                    self.change(|models| {
                        models.remove(model);
                    });
                }
                return Err(error);
            }
        };
        let old = self.models.load().get(model).map(|route| route.load_full()).filter(|old| old.id == traffic.id);
        let route = self.route(model, &traffic, old.as_deref()).await;
        // Versions that nobody is sent to any more are let go; who names one gets it loaded again.
        for slot in old.iter().flat_map(|old| old.slots.values()) {
            if !route.slots.contains_key(&slot.version) {
                slot.live.store(None);
            }
        }
        if let Some(place) = self.models.load().get(model) {
            place.store(Arc::new(route));
            return Ok(Arc::clone(place));
        }
        let place = Arc::new(ArcSwap::from_pointee(route));
        self.change(|models| {
            models.insert(model.into(), Arc::clone(&place));
        });
        Ok(place)
    }

    /// The routing table for `traffic`, keeping the places of `old`. If a new stable version cannot
    /// be loaded, the old one goes on answering.
    async fn route(&self, model: &str, traffic: &Traffic, old: Option<&Route>) -> Route {
        let mut slots = HashMap::new();
        let mut slot = |version: u64| -> Arc<Slot> {
            let known = old.and_then(|old| old.slots.get(&version)).cloned();
            let slot = known.unwrap_or_else(|| Arc::new(Slot::new(version)));
            slots.insert(version, Arc::clone(&slot));
            slot
        };
        let mut stable = traffic.stable.map(&mut slot);
        let canary = traffic.canary.map(|c| (slot(c.version), threshold(c.weight)));
        let shadow = traffic.shadow.map(&mut slot);
        let in_use = old.and_then(|old| old.stable.as_ref()).filter(|s| s.live.load().is_some());
        if let (Some(new), Some(in_use)) = (&stable, in_use)
            && new.ready().is_none()
            && let Err(error) = self.load(model, new).await
        {
            tracing::error!(model, version = new.version, %error, "a version cannot be loaded; the one before stays");
            slots.insert(in_use.version, Arc::clone(in_use));
            stable = Some(Arc::clone(in_use));
        }
        Route { id: traffic.id, stable, canary, shadow, slots }
    }

    /// A place for a version that is asked for by number.
    async fn open_version(&self, model: &str, version: u64) -> Result<Arc<Slot>> {
        let slot = Arc::new(Slot::new(version));
        // Fails when there is no such version, so that numbers out of the air leave no trace.
        self.load(model, &slot).await?;
        let _changing = self.changing.lock().await;
        let Some(place) = self.models.load().get(model).cloned() else { return Ok(slot) };
        let old = place.load_full();
        if let Some(known) = old.slots.get(&version) {
            return Ok(Arc::clone(known));
        }
        let mut slots = old.slots.clone();
        slots.insert(version, Arc::clone(&slot));
        let (stable, canary, shadow) = (old.stable.clone(), old.canary.clone(), old.shadow.clone());
        place.store(Arc::new(Route { id: old.id, stable, canary, shadow, slots }));
        Ok(slot)
    }

    fn change(&self, change: impl Fn(&mut Models)) {
        self.models.rcu(|models| {
            let mut models = Models::clone(models);
            change(&mut models);
            models
        });
    }

    /// Calls `each` with every known version of every open model.
    pub(super) fn each_slot(&self, mut each: impl FnMut(&Arc<str>, &Arc<Slot>)) {
        for (model, route) in self.models.load().iter() {
            for slot in route.load().slots.values() {
                each(model, slot);
            }
        }
    }

    /// The shadow of a model, if it has one.
    pub(super) fn shadow(&self, model: &str) -> Option<Arc<Slot>> {
        self.models.load().get(model)?.load().shadow.clone()
    }

    /// Calls `each` with the metrics of every version, in a fixed order.
    pub(super) fn series<R>(&self, each: impl FnOnce(&[Series<'_>]) -> R) -> R {
        let mut slots = Vec::new();
        self.each_slot(|model, slot| slots.push((Arc::clone(model), Arc::clone(slot))));
        slots.sort_by(|a, b| (&a.0, a.1.version).cmp(&(&b.0, b.1.version)));
        let queued = |slot: &Slot| slot.live.load().as_ref().map_or(0, |live| live.lane.queued_rows());
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
        each(&series)
    }
}

fn not_ready(model: &str) -> Error {
    Error::new(Kind::Unavailable, "no_version", format!("model {model} has no version that is ready to answer"))
        .with_retry_after(1)
}

/// A stored bundle that cannot be read is no fault of whoever asks for an answer.
fn unreadable(error: Error) -> Error {
    Error::internal(format!("a stored bundle cannot be read: {error}"))
}
