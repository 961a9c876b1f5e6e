//! Tokens in the shapes of the providers that `docs/identity-providers.md` tells how to set up.

use super::*;

/// What a provider gives to a frontend that has signed somebody in.
struct Provider {
    issuer: &'static str,
    audience: &'static str,
    policy: Option<&'static str>,
    account_claim: &'static str,
    user_id: &'static str,
    header: Value,
    access_token: Value,
    id_token: Value,
}

const TENANT: &str = "775527ff-9a37-4307-8b3d-cc311f58d925";
const USER: &str = "11111111-2222-3333-4444-555555555555";

/// <https://learn.microsoft.com/en-us/azure/active-directory-b2c/tokens-overview>
fn azure_b2c() -> Provider {
    let issuer = "https://contoso.b2clogin.com/775527ff-9a37-4307-8b3d-cc311f58d925/v2.0/";
    let of_both = json!({
        "iss": issuer, "exp": NOW + 3600, "nbf": NOW, "iat": NOW, "ver": "1.0", "auth_time": NOW, "sub": USER,
        "oid": USER, "name": "Alice", "emails": ["alice@example.com"], "tfp": "B2C_1_SignIn", "nonce": "n",
    });
    Provider {
        issuer,
        audience: "api-app-id",
        policy: Some("b2c_1_signin"),
        account_claim: "oid",
        user_id: USER,
        header: json!({"alg": "RS256", "kid": "one", "typ": "JWT"}),
        access_token: with(
            &of_both,
            json!({"aud": "api-app-id", "azp": "web-app-id", "scp": "billing"}),
        ),
        id_token: with(&of_both, json!({"aud": "web-app-id", "at_hash": "h"})),
    }
}

/// <https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference>
fn entra_external_id() -> Provider {
    let issuer = "https://775527ff-9a37-4307-8b3d-cc311f58d925.ciamlogin.com/775527ff-9a37-4307-8b3d-cc311f58d925/v2.0";
    let of_both = json!({
        "iss": issuer, "iat": NOW, "nbf": NOW, "exp": NOW + 4000, "oid": USER, "sub": "pairwise", "tid": TENANT,
        "ver": "2.0", "uti": "u", "rh": "r",
    });
    let access = json!({"aud": "api-app-id", "azp": "web-app-id", "azpacr": "0", "scp": "billing", "aio": "a"});
    Provider {
        issuer,
        audience: "api-app-id",
        policy: None,
        account_claim: "oid",
        user_id: USER,
        header: json!({"typ": "JWT", "alg": "RS256", "kid": "one"}),
        access_token: with(&of_both, access),
        id_token: with(
            &of_both,
            json!({"aud": "web-app-id", "nonce": "n", "name": "Alice"}),
        ),
    }
}

/// <https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html>
fn cognito() -> Provider {
    let issuer = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_aBcDeFgHi";
    let of_both = json!({
        "sub": USER, "cognito:groups": ["users"], "iss": issuer, "origin_jti": "o", "event_id": "e",
        "auth_time": NOW, "exp": NOW + 3600, "iat": NOW, "jti": "j",
    });
    let access = json!({
        "client_id": "web-client", "token_use": "access", "scope": "openid email", "version": 2, "username": "alice",
    });
    let id = json!({"aud": "web-client", "token_use": "id", "at_hash": "h", "cognito:username": "alice"});
    Provider {
        issuer,
        audience: "web-client",
        policy: None,
        account_claim: "sub",
        user_id: USER,
        header: json!({"kid": "one", "alg": "RS256"}),
        access_token: with(&of_both, access),
        id_token: with(&of_both, id),
    }
}

/// <https://auth0.com/docs/secure/tokens/access-tokens>
fn auth0() -> Provider {
    let issuer = "https://contoso.eu.auth0.com/";
    let of_both = json!({"iss": issuer, "sub": "auth0|507f1f77bcf86cd799439020", "iat": NOW, "exp": NOW + 86_400});
    let audiences = [
        "https://billing.example.com",
        "https://contoso.eu.auth0.com/userinfo",
    ];
    let access = json!({"aud": audiences, "azp": "web-client", "scope": "openid profile", "permissions": []});
    Provider {
        issuer,
        audience: "https://billing.example.com",
        policy: None,
        account_claim: "sub",
        user_id: "auth0|507f1f77bcf86cd799439020",
        header: json!({"alg": "RS256", "typ": "JWT", "kid": "one"}),
        access_token: with(&of_both, access),
        id_token: with(
            &of_both,
            json!({"aud": "web-client", "nonce": "n", "sid": "s"}),
        ),
    }
}

fn with(claims: &Value, more: Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

impl Provider {
    fn verify(&self, issuer: &Issuer, claims: &Value) -> Result<Claims, Refusal> {
        let token = issuer.token(&self.header, claims);
        let audiences = [self.audience.to_owned()];
        let expected = Expectation {
            issuer: self.issuer,
            audiences: &audiences,
            policy: self.policy,
        };
        let keys = Keys::parse(issuer.jwks.to_string().as_bytes()).unwrap();
        let now = Timestamp::from_second(NOW).unwrap();
        Unverified::parse(&token)?.verify(&keys, &expected, now)
    }
}

#[test]
fn each_provider_s_access_token_is_accepted_and_its_id_token_is_not() {
    let issuer = issuer_of(KeySize::Rsa2048);
    for provider in [azure_b2c(), entra_external_id(), cognito(), auth0()] {
        let name = provider.issuer;
        let claims = provider.verify(&issuer, &provider.access_token);
        let claims = claims.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(
            claims.text(provider.account_claim),
            Some(provider.user_id),
            "{name}"
        );
        assert!(
            provider.verify(&issuer, &provider.id_token).is_err(),
            "{name}"
        );
        // Also when somebody has listed the frontend's own id as an audience.
        let for_us = with(&provider.id_token, json!({"aud": provider.audience}));
        let refused = provider.verify(&issuer, &for_us).unwrap_err();
        let as_id_token = ["not an access token", "an ID token is not an access token"];
        assert!(as_id_token.contains(&refused.0), "{name}: {refused}");
        let elsewhere = with(&provider.access_token, json!({"iss": format!("{name}x")}));
        assert!(provider.verify(&issuer, &elsewhere).is_err(), "{name}");
    }
}
