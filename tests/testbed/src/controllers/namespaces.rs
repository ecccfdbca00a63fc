//! Namespaces that are being deleted: they are emptied, then they go.

use super::pods::gone_is_fine;
use super::runner::{Controller, Name, Next};
use crate::api::{Api, ApiError, Change, Delete, Propagation, object, resource};

/// The controller.
pub(super) struct Namespaces;

impl Controller for Namespaces {
    fn all(&self, api: &Api) -> Vec<Name> {
        let namespaces = api.list(&resource::NAMESPACES, None);
        namespaces
            .iter()
            .filter(|namespace| object::is_terminating(namespace))
            .map(|n| Name::of(n))
            .collect()
    }

    fn concerned(&self, api: &Api, change: &Change) -> Vec<Name> {
        let name = if *change.resource == resource::NAMESPACES {
            object::name(&change.object)
        } else {
            object::namespace(&change.object)
        };
        let found = api
            .get(&resource::NAMESPACES, "", name)
            .filter(|found| object::is_terminating(found));
        found.map(|found| Name::of(&found)).into_iter().collect()
    }

    async fn reconcile(&self, api: &Api, name: &Name) -> Result<Next, ApiError> {
        let found = api.get(&resource::NAMESPACES, "", &name.name);
        if !found.is_some_and(|found| object::is_terminating(&found)) {
            return Ok(Next::OnChange);
        }
        let mut left = 0;
        for kind in resource::ALL
            .iter()
            .filter(|kind| kind.namespaced && kind.stored)
        {
            for found in api.list(kind, Some(&name.name)) {
                if !object::is_terminating(&found) {
                    let options = Delete {
                        propagation: Some(Propagation::Background),
                        ..Delete::default()
                    };
                    gone_is_fine(api.delete(kind, &name.name, object::name(&found), &options))?;
                }
                left += usize::from(api.get(kind, &name.name, object::name(&found)).is_some());
            }
        }
        if left == 0 {
            gone_is_fine(api.finalize_namespace(&name.name))?;
        }
        Ok(Next::OnChange)
    }
}
