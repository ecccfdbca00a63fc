//! A webhook's matchConditions: CEL over the request, the object, and what it was before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cel::{Context, Program, Value as Cel};
use serde_json::{Value, json};

use crate::api::ApiError;
use crate::api::write::Target;

// What a real server's CEL knows and this one does not; an expression with it would be judged wrongly.
const UNMODELLED: [&str; 2] = ["authorizer", ".?"];

/// One condition, as it was registered.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) expression: String,
}

/// Compiled expressions, kept from one write to the next: a cheap handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Programs(Arc<Mutex<HashMap<String, Arc<Program>>>>);

/// Returns what keeps an expression from being understood here.
pub(crate) fn fault(expression: &str) -> Option<ApiError> {
    let unmodelled = UNMODELLED.iter().any(|word| expression.contains(word));
    let fault = match Program::compile(expression) {
        Ok(_) if !unmodelled => return None,
        Ok(_) => "not modelled".to_owned(),
        Err(error) => error.to_string(),
    };
    let what = format!("the CEL expression {expression:?}: {fault}");
    Some(ApiError::unmodelled(&what))
}

impl Programs {
    /// Says whether all conditions hold; or what went wrong, if none is false and one cannot be told.
    pub(super) fn hold(
        &self,
        conditions: &[Condition],
        target: &Target<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<bool, String> {
        if conditions.is_empty() {
            return Ok(true);
        }
        let old_object = old.unwrap_or(&Value::Null);
        let context = context(object, old_object, &request(target, old.is_some()))?;
        let mut errors = Vec::new();
        for condition in conditions {
            let program = self.compiled(&condition.expression)?;
            let told = evaluate(&program, &context);
            match told {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => errors.push(error),
            }
        }
        match errors.is_empty() {
            true => Ok(true),
            false => Err(errors.join(", ")),
        }
    }

    fn compiled(&self, expression: &str) -> Result<Arc<Program>, String> {
        let mut programs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.get(expression) {
            return Ok(program.clone());
        }
        let program = Program::compile(expression).map_err(|error| error.to_string())?;
        let program = Arc::new(program);
        programs.insert(expression.to_owned(), program.clone());
        Ok(program)
    }
}

/// Says whether a condition holds for the `request` of an AdmissionReview.
pub fn holds(expression: &str, request: &Value) -> Result<bool, String> {
    let program = Program::compile(expression).map_err(|error| error.to_string())?;
    let context = context(&request["object"], &request["oldObject"], request)?;
    evaluate(&program, &context)
}

fn context<'a>(
    object: &Value,
    old_object: &Value,
    request: &Value,
) -> Result<Context<'a, 'a>, String> {
    let mut context = Context::default();
    for (name, value) in [
        ("object", object),
        ("oldObject", old_object),
        ("request", request),
    ] {
        let added = context.add_variable(name, value);
        added.map_err(|error| error.to_string())?;
    }
    Ok(context)
}

fn evaluate(program: &Program, context: &Context<'_, '_>) -> Result<bool, String> {
    match program.execute(context) {
        Ok(Cel::Bool(told)) => Ok(told),
        Ok(other) => Err(format!("not a bool: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn request(target: &Target<'_>, is_update: bool) -> Value {
    let resource = target.resource;
    json!({
        "kind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "subResource": target.subresource,
        "name": target.name,
        "namespace": target.namespace,
        "operation": if is_update { "UPDATE" } else { "CREATE" },
        "userInfo": super::user_info(target.user),
        "dryRun": target.options.dry_run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Options, User, resource};

    /// Checks conditions against a pod with one annotation and one container, whose image was another.
    #[track_caller]
    fn check(expressions: &[&str], expected: Result<bool, &str>) {
        let (options, user) = (Options::default(), User::admin());
        let target = Target {
            resource: &resource::PODS,
            namespace: "a",
            name: "p",
            subresource: "",
            options: &options,
            user: &user,
        };
        let pod = |image: &str| json!({"metadata": {"annotations": {"x.io/y": "z"}}, "spec": {"containers": [{"name": "c", "image": image}, {}]}});
        let conditions: Vec<Condition> = expressions
            .iter()
            .map(|expression| Condition {
                expression: (*expression).to_owned(),
            })
            .collect();
        let held = Programs::default().hold(&conditions, &target, &pod("b"), Some(&pod("a")));
        match (held, expected) {
            (Ok(held), Ok(expected)) => assert_eq!(held, expected, "{expressions:?}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (held, _) => panic!("{expressions:?}: {held:?}"),
        }
    }

    #[test]
    fn what_objects_have_is_asked_for() {
        check(&[], Ok(true));
        check(&["has(object.metadata.annotations)"], Ok(true));
        check(&["has(object.metadata.labels)"], Ok(false));
        let starts = "object.metadata.annotations.exists(k, k.startsWith('x.io/'))";
        check(&[starts], Ok(true));
        check(&[&starts.replace("x.io", "y.io")], Ok(false));
        let same = "object.metadata.annotations != oldObject.metadata.annotations";
        check(&[same], Ok(false));
        let image = "object.spec.containers.map(c, has(c.image) ? c.image : '') != oldObject.spec.containers.map(c, has(c.image) ? c.image : '')";
        check(&[image], Ok(true));
        check(&["object.spec.containers.size() == 2"], Ok(true));
        check(&["object.spec != oldObject.spec"], Ok(true));
        check(
            &["request.operation == 'UPDATE' && request.kind.kind == 'Pod'"],
            Ok(true),
        );
        check(
            &["has(object.metadata.annotations) != has(object.metadata.labels)"],
            Ok(true),
        );
    }

    #[test]
    fn one_false_condition_outweighs_one_that_cannot_be_told() {
        check(&["object.nosuch.field == 1"], Err("nosuch"));
        check(&["object.nosuch.field == 1", "false"], Ok(false));
        check(&["true", "false"], Ok(false));
        check(&["'a'"], Err("not a bool"));
    }

    #[test]
    fn what_is_not_understood_here_is_not_modelled() {
        assert!(fault("has(object.metadata.annotations)").is_none());
        for expression in [
            "object.",
            "object.metadata.?annotations",
            "authorizer.path('/')",
        ] {
            let error = fault(expression).expect("must not be understood");
            assert_eq!(error.code, 501, "{expression}");
        }
    }
}
