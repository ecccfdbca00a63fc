//! Field numbers of the messages that kubectl sends, from the `generated.proto` files of Kubernetes.

/// One field of a message.
pub(super) struct Field {
    pub(super) number: u8,
    pub(super) name: &'static str,
    pub(super) form: Form,
}

/// How a field is written.
pub(super) enum Form {
    Number,
    Flag,
    Text,
    Texts,
    Bytes,
    Time,
    NumberOrText,
    Quantity,
    Map(MapForm),
    Message(&'static [Field]),
    Messages(&'static [Field]),
}

/// What a map holds.
#[derive(Clone, Copy)]
pub(super) enum MapForm {
    Texts,
    Bytes,
    Quantities,
}

impl MapForm {
    /// Returns the form of a map's values.
    pub(super) fn entry(self) -> Form {
        match self {
            Self::Texts => Form::Text,
            Self::Bytes => Form::Bytes,
            Self::Quantities => Form::Quantity,
        }
    }
}

use Form::{Bytes, Flag, Map, Message, Messages, Number, NumberOrText, Text, Texts, Time};

const fn f(number: u8, name: &'static str, form: Form) -> Field {
    Field { number, name, form }
}

/// The envelope around every object.
pub(super) const UNKNOWN: &[Field] = &[
    f(
        1,
        "typeMeta",
        Message(&[f(1, "apiVersion", Text), f(2, "kind", Text)]),
    ),
    f(2, "raw", Bytes),
];
/// `Time`.
pub(super) const TIME: &[Field] = &[f(1, "seconds", Number)];
/// `IntOrString`.
pub(super) const INT_OR_STRING: &[Field] = &[
    f(1, "type", Number),
    f(2, "intVal", Number),
    f(3, "strVal", Text),
];
/// `Quantity`.
pub(super) const QUANTITY: &[Field] = &[f(1, "string", Text)];

const TEXTS: MapForm = MapForm::Texts;

const OWNER: &[Field] = &[
    f(1, "kind", Text),
    f(3, "name", Text),
    f(4, "uid", Text),
    f(5, "apiVersion", Text),
    f(6, "controller", Flag),
    f(7, "blockOwnerDeletion", Flag),
];
const META: &[Field] = &[
    f(1, "name", Text),
    f(2, "generateName", Text),
    f(3, "namespace", Text),
    f(5, "uid", Text),
    f(6, "resourceVersion", Text),
    f(7, "generation", Number),
    f(8, "creationTimestamp", Time),
    f(11, "labels", Map(TEXTS)),
    f(12, "annotations", Map(TEXTS)),
    f(13, "ownerReferences", Messages(OWNER)),
    f(14, "finalizers", Texts),
];
const SELECTOR: &[Field] = &[
    f(1, "matchLabels", Map(TEXTS)),
    f(
        2,
        "matchExpressions",
        Messages(&[
            f(1, "key", Text),
            f(2, "operator", Text),
            f(3, "values", Texts),
        ]),
    ),
];
const PORT: &[Field] = &[
    f(1, "name", Text),
    f(2, "hostPort", Number),
    f(3, "containerPort", Number),
    f(4, "protocol", Text),
];
const RESOURCES: &[Field] = &[
    f(1, "limits", Map(MapForm::Quantities)),
    f(2, "requests", Map(MapForm::Quantities)),
];
const CONTAINER: &[Field] = &[
    f(1, "name", Text),
    f(2, "image", Text),
    f(3, "command", Texts),
    f(4, "args", Texts),
    f(5, "workingDir", Text),
    f(6, "ports", Messages(PORT)),
    f(
        7,
        "env",
        Messages(&[f(1, "name", Text), f(2, "value", Text)]),
    ),
    f(8, "resources", Message(RESOURCES)),
    f(14, "imagePullPolicy", Text),
];
const REFERENCE: &[Field] = &[f(1, "name", Text)];
const POD_SPEC: &[Field] = &[
    f(2, "containers", Messages(CONTAINER)),
    f(3, "restartPolicy", Text),
    f(4, "terminationGracePeriodSeconds", Number),
    f(6, "dnsPolicy", Text),
    f(7, "nodeSelector", Map(TEXTS)),
    f(8, "serviceAccountName", Text),
    f(10, "nodeName", Text),
    f(15, "imagePullSecrets", Messages(REFERENCE)),
    f(20, "initContainers", Messages(CONTAINER)),
];
const TEMPLATE: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "spec", Message(POD_SPEC)),
];
const DEPLOYMENT_SPEC: &[Field] = &[
    f(1, "replicas", Number),
    f(2, "selector", Message(SELECTOR)),
    f(3, "template", Message(TEMPLATE)),
    f(5, "minReadySeconds", Number),
    f(6, "revisionHistoryLimit", Number),
    f(7, "paused", Flag),
    f(9, "progressDeadlineSeconds", Number),
];
const JOB_SPEC: &[Field] = &[
    f(1, "parallelism", Number),
    f(2, "completions", Number),
    f(6, "template", Message(TEMPLATE)),
    f(7, "backoffLimit", Number),
];
const BUDGET_SPEC: &[Field] = &[
    f(1, "minAvailable", NumberOrText),
    f(2, "selector", Message(SELECTOR)),
    f(3, "maxUnavailable", NumberOrText),
    f(4, "unhealthyPodEvictionPolicy", Text),
];
const RULE: &[Field] = &[
    f(1, "verbs", Texts),
    f(2, "apiGroups", Texts),
    f(3, "resources", Texts),
    f(4, "resourceNames", Texts),
    f(5, "nonResourceURLs", Texts),
];
const BINDING: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(
        2,
        "subjects",
        Messages(&[
            f(1, "kind", Text),
            f(2, "apiGroup", Text),
            f(3, "name", Text),
            f(4, "namespace", Text),
        ]),
    ),
    f(
        3,
        "roleRef",
        Message(&[
            f(1, "apiGroup", Text),
            f(2, "kind", Text),
            f(3, "name", Text),
        ]),
    ),
];
const ACCESS: &[Field] = &[
    f(1, "namespace", Text),
    f(2, "verb", Text),
    f(3, "group", Text),
    f(4, "version", Text),
    f(5, "resource", Text),
    f(6, "subresource", Text),
    f(7, "name", Text),
];
const ACCESS_SPEC: &[Field] = &[
    f(1, "resourceAttributes", Message(ACCESS)),
    f(
        2,
        "nonResourceAttributes",
        Message(&[f(1, "path", Text), f(2, "verb", Text)]),
    ),
];
const NAMESPACE: &[Field] = &[f(1, "metadata", Message(META))];
const CONFIG_MAP: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "data", Map(TEXTS)),
    f(3, "binaryData", Map(MapForm::Bytes)),
    f(4, "immutable", Flag),
];
const SECRET: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "data", Map(MapForm::Bytes)),
    f(3, "type", Text),
    f(4, "stringData", Map(TEXTS)),
    f(5, "immutable", Flag),
];
const SERVICE_ACCOUNT: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(3, "imagePullSecrets", Messages(REFERENCE)),
];
const POD: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "spec", Message(POD_SPEC)),
];
const DEPLOYMENT: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "spec", Message(DEPLOYMENT_SPEC)),
];
const JOB: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "spec", Message(JOB_SPEC)),
];
const CRON_JOB: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(
        2,
        "spec",
        Message(&[
            f(1, "schedule", Text),
            f(3, "concurrencyPolicy", Text),
            f(4, "suspend", Flag),
            f(
                5,
                "jobTemplate",
                Message(&[
                    f(1, "metadata", Message(META)),
                    f(2, "spec", Message(JOB_SPEC)),
                ]),
            ),
        ]),
    ),
];
const BUDGET: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "spec", Message(BUDGET_SPEC)),
];
const ROLE: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "rules", Messages(RULE)),
];
const REVIEW: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "spec", Message(ACCESS_SPEC)),
];
const SELF_REVIEW: &[Field] = &[f(1, "metadata", Message(META))];
const RULES_REVIEW: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(2, "spec", Message(&[f(1, "namespace", Text)])),
];
const TOKEN: &[Field] = &[
    f(1, "metadata", Message(META)),
    f(
        2,
        "spec",
        Message(&[f(1, "audiences", Texts), f(4, "expirationSeconds", Number)]),
    ),
];

/// Returns the fields of a kind.
pub(super) fn of(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "Namespace" => NAMESPACE,
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "Pod" => POD,
        "Deployment" => DEPLOYMENT,
        "Job" => JOB,
        "CronJob" => CRON_JOB,
        "PodDisruptionBudget" => BUDGET,
        "Role" | "ClusterRole" => ROLE,
        "RoleBinding" | "ClusterRoleBinding" => BINDING,
        "SelfSubjectAccessReview" => REVIEW,
        "SelfSubjectRulesReview" => RULES_REVIEW,
        "SelfSubjectReview" => SELF_REVIEW,
        "TokenRequest" => TOKEN,
        _ => return None,
    })
}
