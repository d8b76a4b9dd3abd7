//! Metrics of the running processes compared with docs/metrics.md, alerts and panels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use devstack::{monitoring, workspace};
use proto::query::v1::WatchEventsRequest;
use tests::clients::{check, follow};
use tests::metrics::{Declared, Sample, declared, scrape, shared_admins};
use tests::own::binaries;
use tests::{Endpoints, new_user, until};

#[test]
fn metrics_are_declared_in_one_file_of_each_crate() {
    let mut literals = Vec::new();
    for name in ["service-kit", "command-service", "projector", "query-service"] {
        look_for_literals(&workspace::root().join(name).join("src"), &mut literals);
    }
    assert!(literals.is_empty(), "name them in metrics.rs: {literals:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_metrics_are_declared_and_cover_alerts_and_panels() {
    let endpoints = Endpoints::shared();
    let (mut commands, mut queries) = (endpoints.commands(), endpoints.queries());
    // Some appear at their first use.
    let (a, b) = (new_user(), new_user());
    follow(&mut commands, &a, &b).await.expect("a follow");
    check(&mut queries, &a, &b, None).await.expect("a check");
    let _watch = queries.watch_events(WatchEventsRequest::default()).await.expect("a watch");

    let named = monitoring::metrics_named().expect("alerts and dashboards can be read");
    let declared: BTreeMap<_, _> =
        shared_admins().map(|(program, _)| (program.binary(), declared(&binaries(), program))).into();
    let samples = until("all metrics to appear", || {
        let named = named.clone();
        async move {
            let samples: Vec<_> = shared_admins()
                .into_iter()
                .map(|(program, admin)| (program.binary(), scrape(admin)))
                .collect();
            let exported: BTreeSet<_> =
                samples.iter().flat_map(|(_, samples)| samples).map(|sample| sample.metric.clone()).collect();
            let missing: Vec<_> = named.difference(&exported).collect();
            if missing.is_empty() { Ok(samples) } else { Err(format!("missing: {missing:?}")) }
        }
    })
    .await;

    let wrong: BTreeSet<_> = samples
        .iter()
        .flat_map(|(program, samples)| samples.iter().filter_map(|sample| wrong(&declared[program], sample)))
        .collect();
    assert!(wrong.is_empty(), "declared otherwise in metrics.rs: {wrong:#?}");
    let value = |metric: &str| {
        let all = samples.iter().flat_map(|(_, samples)| samples);
        all.filter(|sample| sample.metric == metric).map(|sample| sample.value).sum::<f64>()
    };
    assert_eq!(value("projector_counts_difference"), 0.0, "the counts of both stores are equal");
    assert_eq!(value("projector_sweep_differences_total"), 0.0, "the read model is right");
    assert_eq!(value("followgraph_relay_leader"), 1.0);
}

/// The problem of a sample: its metric, a label or a value that was not declared.
fn wrong(declared: &Declared, sample: &Sample) -> Option<String> {
    let metric = &sample.metric;
    let Some(labels) = declared.get(metric) else { return Some(format!("{metric} is not declared")) };
    sample.labels.iter().filter(|(name, _)| *name != "le").find_map(|(name, value)| {
        let Some(values) = labels.get(name) else { return Some(format!("{metric} has a label {name}")) };
        let known = values.is_empty() || values.contains(value);
        (!known).then(|| format!("{metric} has {name}={value}"))
    })
}

fn look_for_literals(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            look_for_literals(&path, found);
        } else if path.file_name().is_some_and(|name| name != "metrics.rs") {
            let text = std::fs::read_to_string(&path).expect("a text");
            let literal = |line: &&str| {
                ["counter!(", "gauge!(", "histogram!("].iter().any(|call| line.contains(&format!("{call}\"")))
            };
            found.extend(text.lines().filter(literal).map(|line| format!("{}: {line}", path.display())));
        }
    }
}
