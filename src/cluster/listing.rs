//! A list read once, page by page, for those who look and go.

use serde::Deserialize;
use tracing::debug;
use url::form_urlencoded;

use super::{
    call::{PAGE_LIMIT, Server, decode},
    lenient::{List, Object},
    refusal::CallError,
    watch::{PAGE, PAGE_TIME, Page},
};

/// The head of a page, its items passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Nothing {}

/// Returns what `read` makes of the pages of the list at `path`; `query` are further parameters.
///
/// A list so long that its first version is forgotten before its last page is begun anew once.
pub(super) async fn list<T>(
    server: &Server,
    path: &str,
    query: &[(&str, &str)],
    mut read: impl FnMut(&[u8], &mut Vec<T>) -> Result<(), CallError>,
) -> Result<Vec<T>, CallError> {
    let (mut listed, mut next, mut limit, mut begun_anew) =
        (Vec::new(), String::new(), PAGE, false);
    loop {
        let uri = uri(path, query, limit, &next);
        let body = match server.page(&uri, PAGE_TIME).await {
            Err(CallError::Oversized(_)) if 1 < limit => {
                limit = (limit / 8).max(1);
                debug!("A page of {path} is over {PAGE_LIMIT} bytes, trying {limit}");
                continue;
            }
            Err(CallError::Refused(refusal)) if refusal.is_expired() && !begun_anew => {
                begun_anew = true;
                listed.clear();
                next.clear();
                continue;
            }
            answer => answer?,
        };
        read(&body, &mut listed)?;
        let page: Page<'_, Nothing> = decode(&body)?;
        page.metadata.0.next.as_str().clone_into(&mut next);
        if next.is_empty() {
            return Ok(listed);
        }
    }
}

/// Returns the objects of a page.
pub(super) fn items<'a, T: Deserialize<'a> + Default>(
    body: &'a [u8],
) -> Result<impl Iterator<Item = T>, CallError> {
    let Page { items, .. } = decode::<Page<'a, T>>(body)?;
    let List(items) = items;
    Ok(items.into_iter().map(|Object(item)| item))
}

fn uri(path: &str, query: &[(&str, &str)], limit: usize, next: &str) -> String {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    parameters.append_pair("limit", &limit.to_string());
    for (name, value) in query.iter().chain(&[("continue", next)]) {
        if !value.is_empty() {
            parameters.append_pair(name, value);
        }
    }
    format!("{path}?{}", parameters.finish())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::fake::Fake;

    fn page(names: &[&str], next: &str) -> Value {
        let items: Vec<Value> = (names.iter())
            .map(|name| json!({"metadata": {"name": name}}))
            .collect();
        json!({"metadata": {"resourceVersion": "7", "continue": next}, "items": items})
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Named<'a> {
        #[serde(borrow)]
        metadata: Object<crate::cluster::wire::Meta<'a>>,
    }

    async fn names(server: &Server) -> Result<Vec<String>, CallError> {
        let read = |body: &[u8], names: &mut Vec<String>| {
            let items = items::<Named<'_>>(body)?;
            names.extend(items.map(|item| item.metadata.0.name.as_str().to_owned()));
            Ok(())
        };
        list(server, "/api/v1/pods", &[("fieldSelector", "a=b")], read).await
    }

    #[tokio::test]
    async fn all_pages_are_read() {
        let (mut fake, server) = Fake::start();
        let (listed, ()) = tokio::join!(names(&server), async {
            let first = fake.next().await.expect("GET", "/api/v1/pods");
            assert_eq!(first.query["limit"], "500");
            assert_eq!(first.query["fieldSelector"], "a=b");
            assert!(!first.query.contains_key("continue"));
            first.reply(200, &page(&["a", "b"], "more"));
            let second = fake.next().await;
            assert_eq!(second.query["continue"], "more");
            assert_eq!(second.query["fieldSelector"], "a=b");
            second.reply(200, &page(&["c"], ""));
        });
        assert_eq!(listed.unwrap(), ["a", "b", "c"]);
        assert!(fake.is_quiet());
    }

    #[tokio::test]
    async fn a_list_that_has_expired_is_begun_anew_once() {
        let (mut fake, server) = Fake::start();
        let (listed, ()) = tokio::join!(names(&server), async {
            fake.next().await.reply(200, &page(&["a"], "more"));
            fake.next().await.refuse(410, "Expired");
            let again = fake.next().await;
            assert!(!again.query.contains_key("continue"));
            again.reply(200, &page(&["a"], "more"));
            fake.next().await.reply(200, &page(&["b"], ""));
        });
        assert_eq!(listed.unwrap(), ["a", "b"]);
        let (listed, ()) = tokio::join!(names(&server), async {
            for _ in 0..2 {
                fake.next().await.refuse(410, "Expired");
            }
        });
        assert_eq!(listed.unwrap_err().code(), 410);
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let (mut fake, server) = Fake::start();
        let (listed, ()) = tokio::join!(names(&server), async {
            fake.next().await.refuse(403, "Forbidden");
        });
        assert_eq!(listed.unwrap_err().code(), 403);
    }
}
