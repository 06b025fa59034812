//! Commands on what models learn from streams and how they are served.

use super::remote::Context;
use anyhow::bail;
use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

/// Arguments of commands on one model.
#[derive(Debug, Args)]
pub(super) struct OfModel {
    /// A model of the server.
    model: String,
}

impl OfModel {
    /// `kenyon stream`: the figures of what the model learned from a stream.
    pub(super) async fn stream(self, at: Context) -> anyhow::Result<()> {
        at.show(Method::GET, &format!("/api/v1/models/{}/stream", self.model), None).await
    }

    /// `kenyon consolidate`: queues a job that rebuilds the memory of a stream.
    pub(super) async fn consolidate(self, at: Context) -> anyhow::Result<()> {
        at.show(Method::POST, &format!("/api/v1/models/{}/consolidate", self.model), None).await
    }

    /// `kenyon importance`: how much each column matters.
    pub(super) async fn importance(self, at: Context) -> anyhow::Result<()> {
        let answer = at.client()?.json(Method::GET, &format!("/api/v1/models/{}/importance", self.model), None).await?;
        // The columns are what a terminal is to show.
        let shown = if at.json { answer } else { json!({"items": answer["features"]}) };
        super::show::answer(&shown, at.json);
        Ok(())
    }
}

/// Arguments of `kenyon forget`.
#[derive(Debug, Args)]
pub(super) struct Forget {
    /// A model of the server.
    model: String,
    /// Rows whose column has this value are forgotten; all of several must hold.
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = super::train::setting, required_unless_present = "by_key")]
    columns: Vec<(String, Value)>,
    /// Rows that were learned from the key with this id are forgotten.
    #[arg(long, value_name = "ID", conflicts_with = "columns")]
    by_key: Option<String>,
}

impl Forget {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let what = match self.by_key {
            Some(key) => json!({ "by_key": key }),
            None => json!({ "where": self.columns.into_iter().collect::<Map<String, Value>>() }),
        };
        let path = format!("/api/v1/models/{}/forget", self.model);
        at.show(Method::POST, &path, Some(&what)).await
    }
}

/// Arguments of `kenyon traffic`; what no option names stays as it is, and without any it is shown.
#[derive(Debug, Args)]
pub(super) struct Traffic {
    /// A model of the server.
    model: String,
    /// The version that answers; the present one when missing.
    #[arg(long)]
    stable: Option<u64>,
    /// A version that answers a share of the requests, `4=0.1`.
    #[arg(long, value_name = "VERSION=SHARE", value_parser = share)]
    canary: Option<(u64, f64)>,
    /// Ends the canary.
    #[arg(long, conflicts_with = "canary")]
    no_canary: bool,
    /// A version that answers too, without being seen.
    #[arg(long)]
    shadow: Option<u64>,
    /// Ends the shadow.
    #[arg(long, conflicts_with = "shadow")]
    no_shadow: bool,
}

fn share(text: &str) -> Result<(u64, f64), String> {
    let (version, share) = text.split_once('=').ok_or("must be VERSION=SHARE")?;
    let version = version.parse().map_err(|_| format!("{version} is not a version"))?;
    let known = share.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    Ok((version, known.ok_or_else(|| format!("{share} is not a share between 0 and 1"))?))
}

impl Traffic {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let base = format!("/api/v1/models/{}", self.model);
        let present = at.client()?.json(Method::GET, &base, None).await?["traffic"].take();
        let moves = self.stable.is_some() || self.canary.is_some() || self.shadow.is_some();
        if !(moves || self.no_canary || self.no_shadow) {
            super::show::answer(&present, at.json);
            return Ok(());
        }
        let wanted = self.changed(&present);
        if wanted["stable"].is_null() {
            bail!("the model serves no version yet");
        }
        let changed = at.client()?.json(Method::PUT, &format!("{base}/traffic"), Some(&wanted)).await?;
        super::show::answer(&changed["traffic"], at.json);
        Ok(())
    }

    /// The present traffic with what the options name.
    fn changed(&self, present: &Value) -> Value {
        let mut traffic = present.clone();
        if let Some(stable) = self.stable {
            traffic["stable"] = stable.into();
        }
        if let Some((version, weight)) = self.canary {
            traffic["canary"] = json!({"version": version, "weight": weight});
        } else if self.no_canary {
            traffic["canary"] = Value::Null;
        }
        if self.shadow.is_some() || self.no_shadow {
            traffic["shadow"] = self.shadow.into();
        }
        traffic
    }
}

/// Arguments of `kenyon compare`.
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// A model of the server.
    model: String,
    /// One of its versions.
    first: u64,
    /// Another one.
    second: u64,
    /// The dataset that both answer, with the target.
    #[arg(long)]
    dataset: String,
}

impl Compare {
    pub(super) async fn run(self, at: Context) -> anyhow::Result<()> {
        let query = [("versions", format!("{},{}", self.first, self.second)), ("dataset", self.dataset)];
        let client = at.client()?;
        let request = client.request(Method::GET, &format!("/api/v1/models/{}/compare", self.model)).query(&query);
        let answer: Value = client.checked(request).await?.json().await?;
        if at.json {
            super::show::answer(&answer, true);
            return Ok(());
        }
        let figures = answer["metrics"].as_object().into_iter().flatten();
        let items: Vec<Value> = figures
            .map(|(name, figure)| {
                json!({
                    "metric": name, "first": figure["a"], "second": figure["b"], "difference": figure["difference"],
                    "from": figure["interval"][0], "to": figure["interval"][1],
                })
            })
            .collect();
        super::show::answer(&json!({ "items": items }), false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_leaves_the_rest_of_the_traffic() {
        let none = || Traffic {
            model: "m".into(),
            stable: None,
            canary: None,
            no_canary: false,
            shadow: None,
            no_shadow: false,
        };
        let present = json!({"stable": 1, "canary": {"version": 2, "weight": 0.5}, "shadow": 3});
        assert_eq!(none().changed(&present), present);
        let canary = Traffic { canary: Some((4, 0.1)), ..none() }.changed(&present);
        assert_eq!(canary, json!({"stable": 1, "canary": {"version": 4, "weight": 0.1}, "shadow": 3}));
        let shadow = Traffic { shadow: Some(4), no_canary: true, ..none() }.changed(&present);
        assert_eq!(shadow, json!({"stable": 1, "canary": null, "shadow": 4}));
        let stable = Traffic { stable: Some(2), no_shadow: true, ..none() }.changed(&present);
        assert_eq!(stable, json!({"stable": 2, "canary": {"version": 2, "weight": 0.5}, "shadow": null}));
    }

    #[test]
    fn a_share_belongs_to_a_version() {
        assert_eq!(share("4=0.1"), Ok((4, 0.1)));
        assert!(share("4").is_err() && share("x=0.1").is_err() && share("4=nan").is_err() && share("4=much").is_err());
    }
}
