//! The two text forms of metrics: OpenMetrics, and the older one that Prometheus' own tools read.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/> describes both.

use std::collections::HashMap;

/// A form in which metrics are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4.
    Plain,
}

impl Form {
    /// Returns the form for who sends the header `accept`: the older one for all who do not ask for OpenMetrics.
    pub fn for_client(accept: Option<&str>) -> Self {
        let accepts = |accept: &str| accept.contains("application/openmetrics-text");
        match accept.is_some_and(accepts) {
            true => Self::OpenMetrics,
            false => Self::Plain,
        }
    }

    /// Returns the content type, as each specification words it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns `open_metrics`, a page in that form, in this one.
    pub fn page(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Plain => plain(&open_metrics),
        }
    }
}

/// Returns a page in the older form: there a counter has its `_total` and an info its `_info` in the family's name, and
/// units and the page's end are not told.
fn plain(open_metrics: &str) -> String {
    // A family's help comes before its type.
    let types = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<&str, &str> = types.collect();
    let mut page = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let parts = match words[..] {
            ["#", "UNIT" | "EOF", ..] => continue,
            ["#", what, family, rest] => {
                let (suffix, rest) = match (types.get(family), what, rest) {
                    (Some(&"counter"), _, _) => ("_total", rest),
                    (Some(&"info"), "TYPE", _) => ("_info", "gauge"),
                    (Some(&"info"), _, _) => ("_info", rest),
                    (_, "TYPE", "unknown") => ("", "untyped"),
                    _ => ("", rest),
                };
                ["# ", what, " ", family, suffix, " ", rest, "\n"]
            }
            _ => [line, "\n", "", "", "", "", "", ""],
        };
        page.extend(parts);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: Option<&str>, expected: Form) {
        assert_eq!(Form::for_client(accept), expected, "{accept:?}");
    }

    #[test]
    fn open_metrics_is_for_who_asks_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(Some(prometheus), Form::OpenMetrics);
        check(Some("text/plain;version=0.0.4"), Form::Plain);
        check(Some("*/*"), Form::Plain);
        check(None, Form::Plain);
    }

    #[test]
    fn the_older_form_names_families_as_their_samples() {
        let page = "# HELP a_build What it is.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_requests All # TYPE of requests.\n# TYPE a_requests counter\na_requests_total 7\n\
                    # HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                    a_seconds_bucket{le=\"+Inf\"} 0\n# TYPE a_thing unknown\na_thing 3\n# EOF\n";
        let expected = "# HELP a_build_info What it is.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                        # HELP a_requests_total All # TYPE of requests.\n# TYPE a_requests_total counter\n\
                        a_requests_total 7\n# HELP a_seconds Time.\n# TYPE a_seconds histogram\n\
                        a_seconds_bucket{le=\"+Inf\"} 0\n# TYPE a_thing untyped\na_thing 3\n";
        assert_eq!(Form::Plain.page(page.to_owned()), expected);
        assert_eq!(Form::OpenMetrics.page(page.to_owned()), page);
    }
}
