//! What is decided, from what Stripe may have.

use super::*;

const URL: &str = "https://api.example.com/api/webhooks/stripe";

fn url() -> Url {
    Url::parse(URL).unwrap()
}

fn endpoint(id: &str, created: i64) -> WebhookEndpoint {
    WebhookEndpoint {
        id: id.to_owned(),
        url: URL.to_owned(),
        api_version: Some(API_VERSION.to_owned()),
        enabled_events: types_acted_on().map(str::to_owned).collect(),
        status: "enabled".to_owned(),
        created,
    }
}

fn disabled(id: &str) -> WebhookEndpoint {
    WebhookEndpoint {
        status: "disabled".to_owned(),
        ..endpoint(id, 5)
    }
}

fn older(id: &str, version: Option<&str>) -> WebhookEndpoint {
    WebhookEndpoint {
        api_version: version.map(str::to_owned),
        ..endpoint(id, 1)
    }
}

fn elsewhere(id: &str) -> WebhookEndpoint {
    WebhookEndpoint {
        url: "https://other.example.com/api/webhooks/stripe".to_owned(),
        ..endpoint(id, 9)
    }
}

fn action(found: &[WebhookEndpoint]) -> Option<Action> {
    plan(found, &url(), false).unwrap().action
}

#[test]
fn it_is_made_when_there_is_none_and_left_alone_when_it_is_right() {
    assert_eq!(action(&[]), Some(Action::Create { beside: None }));
    assert_eq!(
        action(&[elsewhere("we_9")]),
        Some(Action::Create { beside: None })
    );
    assert_eq!(action(&[elsewhere("we_9"), endpoint("we_1", 1)]), None);
    // Order does not matter, and neither does how an address is spelt.
    let mut same = endpoint("we_1", 1);
    same.enabled_events.reverse();
    same.url = "https://API.example.com:443/api/webhooks/stripe".to_owned();
    assert_eq!(action(&[same]), None);
}

#[test]
fn types_are_made_exact() {
    let mut bent = endpoint("we_1", 1);
    bent.enabled_events.retain(|name| name != "invoice.paid");
    bent.enabled_events.push("charge.succeeded".to_owned());
    let update = action(&[bent.clone()]).unwrap();
    let shown = update.to_string();
    assert_eq!(
        shown,
        "~ webhook endpoint we_1\n    + invoice.paid\n    - charge.succeeded"
    );
    bent.enabled_events = vec!["*".to_owned()];
    let Some(Action::Update {
        missing, surplus, ..
    }) = action(&[bent])
    else {
        panic!("all types are too many");
    };
    assert_eq!(
        (missing.len(), surplus),
        (types_acted_on().count(), vec!["*".to_owned()])
    );
}

#[test]
fn a_disabled_one_is_switched_on_when_nothing_else_sends() {
    let shown = action(&[disabled("we_1")]).unwrap().to_string();
    assert_eq!(shown, "~ webhook endpoint we_1\n    is switched on");
    assert_eq!(
        action(&[disabled("we_1"), endpoint("we_2", 1)]),
        None,
        "a retired one stays so"
    );
    let other = WebhookEndpoint {
        status: "disabled".to_owned(),
        ..older("we_0", None)
    };
    assert_eq!(action(&[other]), Some(Action::Create { beside: None }));
}

#[test]
fn another_version_is_reported_and_replaced_on_request() {
    for (version, said) in [
        (Some("2024-06-20"), "2024-06-20"),
        (None, "the account's default version"),
    ] {
        let found = [older("we_1", version)];
        let refused = plan(&found, &url(), false).unwrap_err().to_string();
        assert!(
            refused.contains("we_1") && refused.contains(said) && refused.contains("--replace"),
            "{refused}"
        );
        let replacing = plan(&found, &url(), true).unwrap();
        assert_eq!(
            replacing.action,
            Some(Action::Create {
                beside: Some("we_1".to_owned())
            })
        );
        assert_eq!(replacing.others, found);
    }
    let both = [older("we_1", Some("2024-06-20")), endpoint("we_2", 2)];
    let synced = plan(&both, &url(), false).unwrap();
    assert_eq!((synced.action, &synced.others[..]), (None, &both[..1]));
    let third = plan(&both, &url(), true).unwrap_err().to_string();
    assert!(third.contains("we_1, we_2"), "{third}");
}

#[test]
fn an_endpoint_goes_only_when_another_has_taken_over() {
    let found = [endpoint("we_1", 1), endpoint("we_2", 2), elsewhere("we_9")];
    let (former, successor) = succession(&found, "we_1").unwrap();
    assert_eq!(
        (former.id.as_str(), successor.id.as_str()),
        ("we_1", "we_2")
    );
    let mut fewer = endpoint("we_2", 2);
    fewer.enabled_events.pop();
    for unfit in [
        disabled("we_2"),
        older("we_2", Some("2024-06-20")),
        elsewhere("we_2"),
        fewer,
    ] {
        let found = [endpoint("we_1", 1), unfit];
        let refused = succession(&found, "we_1").unwrap_err().to_string();
        assert!(refused.contains("would lose events"), "{refused}");
    }
    assert_eq!(
        succession(&found, "we_0"),
        Err(Refused::NoSuchEndpoint("we_0".to_owned()))
    );
}

#[test]
fn an_address_that_cannot_be_meant_is_refused() {
    let at = |base: Option<&str>| {
        let base = base.map(|base| ("STRIPE_API_BASE".to_owned(), base.to_owned()));
        base.into_iter().collect::<Environment>()
    };
    let (stripe, sandbox) = (at(None), at(Some("http://localhost:12111")));
    assert!(checked(URL, &stripe).is_ok());
    assert!(
        checked("https://h.example.com/v2/api/webhooks/stripe", &stripe).is_ok(),
        "below a mapping"
    );
    // Stripe's own guide tells two endpoints apart by a query.
    assert!(
        checked(
            "https://api.example.com/api/webhooks/stripe?version=2",
            &stripe
        )
        .is_ok()
    );
    assert!(checked("http://localhost:3000/api/webhooks/stripe", &sandbox).is_ok());
    for (url, environment, said) in [
        ("api.example.com", &stripe, "no address"),
        (
            "http://api.example.com/api/webhooks/stripe",
            &stripe,
            "not https://",
        ),
        (
            "http://api.example.com/api/webhooks/stripe",
            &sandbox,
            "not https://",
        ),
        (
            "ftp://localhost/api/webhooks/stripe",
            &sandbox,
            "not https://",
        ),
        (
            "http://localhost:3000/api/webhooks/stripe",
            &stripe,
            "stripe listen",
        ),
        (
            "https://me:pw@api.example.com/api/webhooks/stripe",
            &stripe,
            "password",
        ),
        ("https://api.example.com", &stripe, "/api/webhooks/stripe"),
        (
            "https://api.example.com/api/internal/stripe-events",
            &stripe,
            "/api/webhooks/stripe",
        ),
    ] {
        let refused = checked(url, environment).unwrap_err().to_string();
        assert!(refused.contains(url) && refused.contains(said), "{refused}");
    }
}
