//! Who acts, when somebody asks to act as another: `kubectl --as`.

use hyper::HeaderMap;

use super::{rbac, route::Attributes};
use crate::api::{Api, ApiError, User};

/// Returns the user that a request counts as: the one that it impersonates, if `user` may do that.
///
/// ServiceAccounts and users are modelled; groups, uids and extras of one's own choice are not.
pub(crate) fn user(api: &Api, user: User, headers: &HeaderMap) -> Result<User, ApiError> {
    if let Some(header) = (headers.keys())
        .map(hyper::header::HeaderName::as_str)
        .find(|name| name.starts_with("impersonate-") && *name != "impersonate-user")
    {
        return Err(ApiError::unmodelled(header));
    }
    let Some(wanted) = headers.get("impersonate-user") else {
        return Ok(user);
    };
    let wanted = wanted.to_str().unwrap_or_default();
    let account = wanted
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let (plural, namespace, name) = match account {
        Some((namespace, name)) => ("serviceaccounts", namespace, name),
        None => ("users", "", wanted),
    };
    let attributes = Attributes {
        verb: "impersonate",
        version: "v1".to_owned(),
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        is_resource: true,
        ..Attributes::default()
    };
    rbac::authorize(api, &user, &attributes, "")?;
    Ok(match account {
        Some((namespace, name)) => User::service_account(namespace, name, ""),
        None => User {
            name: wanted.to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..User::default()
        },
    })
}
