//! `template.yaml`, read: what it sets, allows and bills by. `checks` holds it to the code.

mod checks;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use shared::config::Environment;

use crate::policy::Statement;

const FUNCTIONS: [&str; 5] = ["checkout", "portal", "profile", "reconcile", "webhook"];

/// What Lambda itself sets.
const SET_BY_LAMBDA: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_REGION", "AWS_SECRET_ACCESS_KEY"];

/// Addresses in place of AWS's and Stripe's own.
const ONLY_ON_ONE_MACHINE: [&str; 2] = ["AWS_ENDPOINT_URL_DYNAMODB", "STRIPE_API_BASE"];

/// What a function starts without.
const OPTIONAL: [&str; 2] = ["ACCOUNT_CLAIM", "STAGE"];

/// Actions that AWS does in the function's name.
const DONE_BY_AWS: [&str; 2] = ["logs:", "sqs:"];

/// The template, its short tags as members: `!Ref X` is `{"!Ref": "X"}`.
pub struct Template(Value);

impl Template {
    pub fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        Self(json_of(serde_yaml_ng::from_str(&text).unwrap()))
    }

    fn resources(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0["Resources"].as_object().unwrap().iter()
    }

    fn of_type(&self, wanted: &str) -> Vec<(&String, &Value)> {
        let resources = self.resources();
        resources
            .filter(|(_, resource)| resource["Type"] == wanted)
            .collect()
    }

    /// `webhook` is `WebhookFunction`.
    fn function(&self, name: &str) -> &Value {
        &self.0["Resources"][function_id(name)]["Properties"]
    }

    /// The statements of the function's role.
    pub fn statements(&self, function: &str) -> Vec<Statement> {
        let role = text_of(&self.function(function)["Role"]);
        let role = &self.0["Resources"][role.trim_end_matches(".Arn")]["Properties"];
        assert!(
            role["ManagedPolicyArns"].is_null(),
            "{function}: policies are spelled out"
        );
        let policies = role["Policies"].as_array().unwrap().iter();
        let statements =
            policies.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
        statements.map(statement).collect()
    }

    /// The function's environment, with the values of a running stack: what the template sets, what Lambda
    /// sets, and where everything is on one machine.
    pub fn environment(&self, function: &str, stack: &Environment) -> Environment {
        let set = self.variables(function).into_iter().map(|(name, value)| {
            let value = match name.as_str() {
                "SECRETS_ARN" => value,
                _ => stack.get(&name).unwrap_or_default().to_owned(),
            };
            (name, value)
        });
        let others = SET_BY_LAMBDA.iter().chain(&ONLY_ON_ONE_MACHINE);
        let others =
            others.filter_map(|name| Some(((*name).to_owned(), stack.get(name)?.to_owned())));
        set.chain(others).collect()
    }

    /// How many resources there are of a type.
    pub fn count(&self, wanted: &str) -> usize {
        self.of_type(wanted).len()
    }

    /// What API Gateway writes of each request.
    pub fn access_log_format(&self) -> String {
        let settings = &self.0["Resources"]["Api"]["Properties"]["AccessLogSettings"];
        settings["Format"].as_str().unwrap().to_owned()
    }

    /// The function's memory, by which Lambda bills its time.
    pub fn memory_mb(&self, function: &str) -> u64 {
        let own = self.function(function)["MemorySize"].as_u64();
        let of_all = self.0["Globals"]["Function"]["MemorySize"].as_u64();
        own.or(of_all).unwrap()
    }

    /// The variables that the template sets for the function; one that is `AWS::NoValue` is not set.
    fn variables(&self, function: &str) -> BTreeMap<String, String> {
        let of_all = &self.0["Globals"]["Function"]["Environment"]["Variables"];
        let own = &self.function(function)["Environment"]["Variables"];
        let set = of_all
            .as_object()
            .unwrap()
            .iter()
            .chain(own.as_object().unwrap());
        set.map(|(name, value)| (name.clone(), text_of(value)))
            .filter(|(_, value)| value != "AWS::NoValue")
            .collect()
    }
}

pub fn function_id(name: &str) -> String {
    format!("{}{}Function", name[..1].to_uppercase(), &name[1..])
}

fn json_of(yaml: serde_yaml_ng::Value) -> Value {
    use serde_yaml_ng::Value as Yaml;
    match yaml {
        Yaml::Tagged(tagged) => json!({tagged.tag.to_string(): json_of(tagged.value)}),
        Yaml::Mapping(entries) => entries
            .into_iter()
            .map(|(name, value)| (name.as_str().unwrap().to_owned(), json_of(value)))
            .collect(),
        Yaml::Sequence(entries) => entries.into_iter().map(json_of).collect(),
        plain => serde_json::to_value(plain).unwrap(),
    }
}

/// `!GetAtt Table.Arn`, `!Sub '${Table.Arn}/index/x'` and `!Ref Secret` without their wrapping.
fn text_of(value: &Value) -> String {
    match value {
        Value::Object(tagged) => text_of(tagged.values().next().unwrap()),
        Value::String(text) => text.replace("${", "").replace('}', ""),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(entries) => entries.iter().map(text_of).collect(),
        Value::Null => Vec::new(),
        one => vec![text_of(one)],
    }
}

fn statement(statement: &Value) -> Statement {
    assert_eq!(statement["Effect"], "Allow");
    let condition = statement.get("Condition").map(|condition| {
        assert_eq!(condition.as_object().unwrap().len(), 1, "{condition}");
        let keys = condition["ForAllValues:StringLike"].as_object().unwrap();
        assert_eq!(keys.len(), 1, "{condition}");
        list(&keys["dynamodb:LeadingKeys"])
    });
    let parsed = Statement {
        sid: statement["Sid"].as_str().unwrap().to_owned(),
        actions: list(&statement["Action"]),
        resources: list(&statement["Resource"]),
        leading_keys: condition.unwrap_or_default(),
    };
    let of_table = parsed
        .actions
        .iter()
        .any(|action| action.starts_with("dynamodb:"));
    assert_eq!(of_table, !parsed.leading_keys.is_empty(), "{parsed:?}");
    let texts = parsed.actions.iter().chain(&parsed.resources);
    assert!(!texts.clone().any(|text| text.contains('*')), "{parsed:?}");
    parsed
}
