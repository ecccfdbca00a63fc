//! What is wrong with the labels `podrefresh.io/enabled` of an object that somebody is about to store.

use super::{Objections, Place};
use crate::policy::names::{ENABLED, idle_label};

/// The value of the label `podrefresh.io/enabled` at one place, if it is there.
pub type Label<'a> = (Place, Option<&'a str>);

impl Objections {
    /// Adds that a namespace's new label `podrefresh.io/enabled` is one that means nothing.
    ///
    /// It does no harm, and others may have uses for it.
    pub fn opt_in(&mut self, before: Option<&str>, after: Option<&str>) {
        if let Some(value) = idle_label(after).filter(|value| before != Some(*value)) {
            self.warnings.push(format!(
                "the label {ENABLED}={value:?} means nothing: only \"true\" opts in, and \"false\" out"
            ));
        }
    }

    /// Adds that new labels `podrefresh.io/enabled` of a pod or a workload opt no pod out, though whoever wrote them may
    /// well think so; `before` has the same places as `after`.
    ///
    /// One beside the template is passed over where the template has one, too: many tools write all labels in both places.
    pub fn opt_out(&mut self, before: &[Label<'_>], after: &[Label<'_>]) {
        let mut all = after.iter();
        let is_on_pods = all.any(|(place, value)| *place == Place::Counting && value.is_some());
        for (&(place, value), (_, before)) in after.iter().zip(before) {
            let Some(value) = value.filter(|value| *before != Some(*value)) else {
                continue;
            };
            let fault = match place {
                Place::Counting if idle_label(Some(value)).is_some() => {
                    "means nothing: only \"false\" opts a pod out"
                }
                Place::Idle if value != "true" && !is_on_pods => {
                    "has no effect here: \"false\" on the pod template opts its pods out"
                }
                Place::Counting | Place::Idle => continue,
            };
            let warning = format!("the label {ENABLED}={value:?} {fault}");
            self.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "-";

    /// Checks the beginnings of the warnings about a workload's labels on its template and on itself; `-` stands for none.
    #[track_caller]
    fn check(before: [&'static str; 2], after: [&'static str; 2], expected: &[&str]) {
        let at = |[template, own]: [&'static str; 2]| {
            let value = |value: &'static str| (value != NONE).then_some(value);
            [
                (Place::Counting, value(template)),
                (Place::Idle, value(own)),
            ]
        };
        let mut said = Objections::default();
        said.opt_out(&at(before), &at(after));
        let told: Vec<_> = (said.warnings.iter())
            .map(|it| it.split_once(':').map_or(&**it, |(start, _)| start))
            .collect();
        let expected: Vec<_> = (expected.iter())
            .map(|it| format!("the label podrefresh.io/enabled={it}"))
            .collect();
        assert_eq!(told, expected);
        assert_eq!(said.faults, [] as [&str; 0]);
    }

    #[test]
    fn a_label_on_pods_that_does_not_opt_out_is_warned_of() {
        let none = [NONE, NONE];
        for value in ["False", "no", "0", "off", ""] {
            check(none, [value, NONE], &[&format!("{value:?} means nothing")]);
            check([value, NONE], [value, NONE], &[]);
            check([value, NONE], none, &[]);
        }
        check(["no", NONE], ["off", NONE], &["\"off\" means nothing"]);
        for value in ["true", "false"] {
            check(none, [value, NONE], &[]);
        }
    }

    #[test]
    fn a_label_in_the_place_of_the_templates_is_warned_of() {
        let none = [NONE, NONE];
        check(none, [NONE, "false"], &["\"false\" has no effect here"]);
        check(none, [NONE, "no"], &["\"no\" has no effect here"]);
        check(none, [NONE, "true"], &[]);
        check([NONE, "false"], [NONE, "false"], &[]);
        // Who labels all there is has the right one among them, or is told of it.
        check(none, ["false", "false"], &[]);
        check(none, ["no", "no"], &["\"no\" means nothing"]);
    }
}
