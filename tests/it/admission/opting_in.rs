//! A Namespace's label that neither opts in nor out is warned of, and stored as it is.

use serde_json::{Value, json};

use super::validate::world;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_whose_label_means_nothing_is_warned_of() {
    let world = world().await;
    let warned = async |method: &str, path: &str, value: Value| {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shelf", "labels": {"podrefresh.io/enabled": value, "a": fastrand::u32(..).to_string()}},
        });
        let (status, warnings, answer) = match method {
            "PATCH" => {
                let form = "application/merge-patch+json";
                world.send_as(method, path, form, &object).await
            }
            _ => world.send(method, path, &object).await,
        };
        assert!(matches!(status, 200 | 201), "{value}: {answer:#}");
        let ours = warnings.into_iter().filter(|it| it.contains("podrefresh"));
        ours.collect::<Vec<_>>().join("\n")
    };
    let means = |value: &str| {
        format!(
            "podrefresh: the label podrefresh.io/enabled={value:?} means nothing: only \"true\" opts in, and \"false\" out"
        )
    };
    let new = "/api/v1/namespaces?dryRun=All";
    for value in ["yes", "True", ""] {
        // The API server writes it into a header, with the quotes escaped.
        let warning = warned("POST", new, json!(value)).await.replace('\\', "");
        assert!(warning.contains(&means(value)), "{warning}");
    }
    for value in ["true", "false"] {
        assert_eq!(warned("POST", new, json!(value)).await, "", "{value}");
    }
    world.kube.namespace("shelf", json!({}), json!({})).await;
    let shelf = "/api/v1/namespaces/shelf";
    let warning = warned("PATCH", shelf, json!("yes")).await.replace('\\', "");
    assert!(warning.contains(&means("yes")), "{warning}");
    // Whoever changes another label has heard it, or it was not they.
    assert_eq!(warned("PATCH", shelf, json!("yes")).await, "");
    assert_eq!(warned("PATCH", shelf, json!("true")).await, "");
    assert_eq!(warned("PATCH", shelf, Value::Null).await, "");
}
