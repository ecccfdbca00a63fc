//! The component `monitoring`: its alerts and its dashboard ask for what there is, and fire when they should.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    readme::{anchor, metrics},
    reasons::labels,
    support::{
        files::read,
        folder::Folder,
        markdown::{blocks, section},
        skip::{need, program},
    },
};

mod scrape;

const RULES: &str = "manifests/components/monitoring/rules.yaml";
const DASHBOARD: &str = "manifests/components/monitoring/podrefresh.json";

/// Returns the groups of rules as Prometheus itself takes them.
fn rules() -> Value {
    let rule: Value = serde_saphyr::from_str(&read(RULES)).unwrap();
    assert_eq!(rule["kind"], "PrometheusRule");
    rule["spec"].clone()
}

/// Returns the alerts.
fn alerts() -> Vec<Value> {
    let groups = rules();
    let groups = groups["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone());
    rules.collect()
}

/// Returns the dashboard's expressions, its variables written out.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let expression = |target: &Value| {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression.replace("$namespace", "podrefresh");
        let expression = expression.replace("$__rate_interval", "1m");
        assert!(!expression.contains('$'), "{expression}");
        expression
    };
    targets.map(expression).collect()
}

/// Returns the words of an expression that name metrics of ours.
fn named(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|it| it.starts_with("podrefresh_")).collect()
}

/// Returns the labels and the values that an expression selects by, `a|b` taken apart.
fn selected(expression: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (n, part) in expression.split('"').enumerate() {
        if n % 2 == 0 {
            continue;
        }
        let before = expression.split('"').nth(n - 1).unwrap();
        let label = before.trim_end_matches(['=', '!', '~']);
        let label = label.rsplit(['{', ',']).next().unwrap();
        found.extend(part.split('|').map(|value| (label, value)));
    }
    found
}

#[test]
fn expressions_are_taken_apart() {
    let expression = "rate(podrefresh_a_total{path=\"x\",outcome!~\"y|z\"}[5m]) / podrefresh_b > 1";
    assert_eq!(named(expression), ["podrefresh_a_total", "podrefresh_b"]);
    let expected = [("path", "x"), ("outcome", "y"), ("outcome", "z")];
    assert_eq!(selected(expression), expected);
}

#[test]
fn what_is_asked_for_is_there() {
    let metrics = metrics();
    let known = |name: &str| {
        let base = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|base| metrics.get(*base).is_some_and(|kind| kind == "histogram"));
        let whole = metrics.get(name).is_some_and(|kind| kind != "histogram");
        whole || base.is_some()
    };
    // What others give: Prometheus itself.
    let foreign = ["up{job=\"podrefresh\"}"];
    let mut asked = BTreeSet::new();
    let alerts = alerts();
    let alerts = alerts
        .iter()
        .map(|it| it["expr"].as_str().unwrap().to_owned());
    for expression in alerts.chain(queries()) {
        let names = named(&expression);
        let is_foreign = foreign.iter().any(|it| expression.contains(it));
        assert!(is_foreign || !names.is_empty(), "{expression}");
        for name in names {
            assert!(known(name), "there is no {name}: {expression}");
            asked.insert(name.to_owned());
        }
    }
    assert!(15 < asked.len(), "{asked:?}");
}

#[test]
fn labels_are_selected_by_values_that_they_can_have() {
    let words = |file: &str, kind: &str| labels(file, kind);
    let mut lookups = words("src/registry/fault.rs", "Fault");
    lookups.extend(["found", "cached"].map(str::to_owned));
    let mut requests = words("src/notify/outcome.rs", "Outcome");
    requests.extend(words("src/notify/outcome.rs", "Refusal"));
    let known: BTreeMap<(&str, &str), BTreeSet<String>> = [
        (
            ("podrefresh_admission_reviews_total", "outcome"),
            words("src/admission/outcome.rs", "Outcome"),
        ),
        (
            ("podrefresh_admission_reviews_total", "path"),
            words("src/admission/outcome.rs", "Hook"),
        ),
        (("podrefresh_registry_lookups_total", "outcome"), lookups),
        (("podrefresh_notify_requests_total", "outcome"), requests),
        (
            ("podrefresh_refresh_held_pods", "reason"),
            words("src/policy/gate/hold.rs", "Hold"),
        ),
        (
            ("podrefresh_refresh_ineligible_pods", "reason"),
            words("src/policy/eligible.rs", "Ineligible"),
        ),
        (
            ("podrefresh_refresh_containers", "verdict"),
            words("src/policy/verdict.rs", "Verdict"),
        ),
    ]
    .into();
    let mut checked = 0;
    let alerts = alerts();
    let alerts = alerts
        .iter()
        .map(|it| it["expr"].as_str().unwrap().to_owned());
    for expression in alerts.chain(queries()) {
        for (label, value) in selected(&expression) {
            if ["namespace", "job"].contains(&label) {
                continue;
            }
            let name = named(&expression)[0];
            let values = known.get(&(name, label));
            let values = values.unwrap_or_else(|| panic!("{name} has no {label}: {expression}"));
            assert!(values.contains(value), "{label}={value}: {expression}");
            checked += 1;
        }
    }
    assert!(10 < checked, "{checked}");
}

#[test]
fn each_alert_says_what_it_means_and_where_to_read_on() {
    let page = read("docs/troubleshooting.md");
    let headings: BTreeSet<String> = (page.lines())
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(name.starts_with("Podrefresh"), "{name}");
        for text in ["summary", "description"] {
            assert!(
                alert["annotations"][text].is_string(),
                "{name} has no {text}"
            );
        }
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("warning" | "info")), "{name}");
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        let (file, heading) = url.trim().split_once('#').unwrap();
        assert!(file.ends_with("/docs/troubleshooting.md"), "{name}: {url}");
        assert!(
            headings.contains(heading),
            "{name}: {heading} of {headings:?}"
        );
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(10 < panels.len());
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id");
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{title}"
        );
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title} is too wide");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title} lies upon another");
            }
        }
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let names: Vec<&Value> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    let names: Vec<&str> = names
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["datasource", "namespace"]);
}

/// Runs promtool on files in a folder; returns what it said, or `None` without promtool.
#[track_caller]
fn promtool(folder: &Folder, arguments: &[&str]) -> Option<(bool, String)> {
    let promtool = need(program("promtool"))?;
    let output = Command::new(promtool)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Some((output.status.success(), said))
}

#[test]
fn promtool_takes_the_alerts_and_the_dashboards_expressions() {
    let folder = Folder::new();
    folder.write("rules.yaml", &rules().to_string());
    let recorded: Vec<Value> = (queries().iter().enumerate())
        .map(|(n, expression)| json!({"record": format!("panel_{n}"), "expr": expression}))
        .collect();
    let recorded = json!({"groups": [{"name": "dashboard", "rules": recorded}]});
    folder.write("dashboard.yaml", &recorded.to_string());
    for file in ["rules.yaml", "dashboard.yaml"] {
        // The linter's complaints, of rules that are told twice, fail it as well.
        let arguments = ["check", "rules", "--lint-fatal", file];
        let Some((well, said)) = promtool(&folder, &arguments) else {
            return;
        };
        assert!(well, "{file}: {said}");
    }
}

#[test]
fn promtool_takes_what_the_page_says_for_clusters_without_the_operator() {
    let page = read("docs/operations.md");
    let blocks = blocks(section(&page, "## Monitoring"), "yaml");
    let config = blocks.iter().find(|it| it.contains("scrape_configs:"));
    let mut config: Value = serde_saphyr::from_str(config.unwrap()).unwrap();
    // Debian builds Prometheus without this way of finding pods.
    let job = config["scrape_configs"][0].as_object_mut().unwrap();
    let found_by = job.remove("kubernetes_sd_configs").unwrap();
    let expected = json!([{"role": "pod", "namespaces": {"names": ["podrefresh"]}}]);
    assert_eq!(found_by, expected);
    assert_eq!(job["job_name"], "podrefresh", "an alert relies on it");
    let folder = Folder::new();
    folder.write("podrefresh.yaml", &rules().to_string());
    folder.write("prometheus.yaml", &config.to_string());
    let arguments = ["check", "config", "prometheus.yaml"];
    let Some((well, said)) = promtool(&folder, &arguments) else {
        return;
    };
    let count = format!("{} rules found", alerts().len());
    assert!(well && said.contains(&count), "{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_not_before() {
    let tests = read("tests/it/monitoring/alerts.yaml");
    let known: Value = serde_saphyr::from_str(&tests).unwrap();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let query = format!("alertname=\"{name}\"");
        let mut fires: Vec<bool> = known["tests"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|test| test["promql_expr_test"].as_array().unwrap())
            .filter(|test| test["expr"].as_str().unwrap().contains(&query))
            .map(|test| test["exp_samples"].is_array())
            .collect();
        fires.sort_unstable();
        fires.dedup();
        assert_eq!(fires, [false, true], "{name}: not always, and not never");
    }
    let folder = Folder::new();
    folder.write("rules.yaml", &rules().to_string());
    folder.write("alerts.yaml", &tests);
    let Some((well, said)) = promtool(&folder, &["test", "rules", "alerts.yaml"]) else {
        return;
    };
    assert!(well, "{said}");
    // And the tests can tell: with every alert's patience gone most of them fire too soon.
    let hasty = rules().to_string();
    let mut hasty: Value = serde_json::from_str(&hasty).unwrap();
    for rule in hasty["groups"][0]["rules"].as_array_mut().unwrap() {
        rule["for"] = json!("0s");
    }
    fs::write(folder.path().join("rules.yaml"), hasty.to_string()).unwrap();
    let (well, said) = promtool(&folder, &["test", "rules", "alerts.yaml"]).unwrap();
    assert!(!well && said.contains("PodrefreshHalted"), "{said}");
}
