//! Prometheus, to check rules and for tests in which real alerts fire.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{
    daemon::Daemon,
    debian,
    fetch::Cache,
    http,
    ports::{Claim, loopback},
    prerequisites::on_path,
};

/// Interval of scrapes and evaluations. An alert fires within about twice that.
const INTERVAL: &str = "200ms";

/// The programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The server.
    pub prometheus: PathBuf,
    /// The checker.
    pub promtool: PathBuf,
}

impl Programs {
    /// The programs on PATH, else those of the distribution's package, fetched into the cache.
    pub fn install() -> Result<Self> {
        if let (Some(prometheus), Some(promtool)) = (on_path("prometheus"), on_path("promtool")) {
            return Ok(Self { prometheus, promtool });
        }
        debian::require("prometheus and promtool", "both; any 2.x or 3.x")?;
        let folder = Cache::lock()?
            .install("prometheus", |folder| debian::unpack("prometheus", folder))?
            .join("usr/bin");
        Ok(Self { prometheus: folder.join("prometheus"), promtool: folder.join("promtool") })
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Prometheus {
    daemon: Daemon,
    address: SocketAddr,
    _port: Claim,
}

impl Prometheus {
    /// Starts one that scrapes `targets` (job and address) and evaluates `rules`. Its data and log are in `folder`.
    pub fn start(folder: &Path, targets: &[(&str, SocketAddr)], rules: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("rules.yaml"), rules)?;
        let jobs: Vec<_> = targets
            .iter()
            .map(|(job, address)| {
                serde_json::json!({"job_name": job, "static_configs": [{"targets": [address.to_string()]}]})
            })
            .collect();
        // JSON is YAML.
        let config = serde_json::json!({
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": ["rules.yaml"],
            "scrape_configs": jobs,
        });
        let file = folder.join("prometheus.yaml");
        fs::write(&file, config.to_string())?;
        let port = Claim::any()?;
        let address = loopback(port.port);
        let mut command = Command::new(Programs::install()?.prometheus);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let advice = "Read the log above; `cargo xtask check` checks the rules.";
        let mut daemon = Daemon::new("Prometheus", folder.join("prometheus.log"), advice);
        daemon.start(command, || http::is_ok(address, "/-/ready"))?;
        Ok(Self { daemon, address, _port: port })
    }

    /// The current result of a query: labels and value of each series.
    pub fn query(&self, query: &str) -> Result<Vec<(BTreeMap<String, String>, f64)>> {
        let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = http::get(self.address, &format!("/api/v1/query?query={encoded}"))?;
        let answer: Value = serde_json::from_str(&answer.body).context("not a response of Prometheus")?;
        if answer["status"] != "success" {
            bail!("Prometheus refuses {query}: {}", answer["error"]);
        }
        answer["data"]["result"].as_array().into_iter().flatten().map(series).collect()
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.daemon.log_tail(lines)
    }
}

fn series(series: &Value) -> Result<(BTreeMap<String, String>, f64)> {
    let labels = serde_json::from_value(series["metric"].clone())?;
    let value = series["value"][1].as_str().context("a series without a value")?;
    Ok((labels, value.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_read() {
        let text = serde_json::json!({"metric": {"alertname": "A"}, "value": [1.5, "2"]});
        let (labels, value) = series(&text).unwrap();
        assert_eq!((labels["alertname"].as_str(), value), ("A", 2.0));
    }
}
