//! Products: <https://docs.stripe.com/api/products>.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, copy, lists, merge_metadata, metadata, prices};
use crate::world::World;

const COPIED: [&str; 10] = [
    "active",
    "description",
    "images",
    "marketing_features",
    "name",
    "package_dimensions",
    "shippable",
    "statement_descriptor",
    "unit_label",
    "url",
];

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "products") => create(world, p),
        ("GET", "products") => list(world, p),
        ("GET", _) => world.require("product", id, "id").cloned(),
        ("DELETE", _) => delete(world, id),
        _ => update(world, id, p),
    }
}

pub(crate) fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if p.is_set("id") && world.object(p.text("id")).is_some() {
        return Err(ApiError::invalid("Product already exists.")
            .code("resource_already_exists")
            .param("id"));
    }
    let id = match p.text("id") {
        "" => world.id("prod_").chars().take(19).collect(),
        id => id.to_owned(),
    };
    let mut product = json!({
        "id": id, "object": "product", "active": true, "created": world.now(), "default_price": null,
        "description": null, "images": [], "livemode": false, "marketing_features": [], "metadata": metadata(p),
        "name": null, "package_dimensions": null, "shippable": null, "statement_descriptor": null,
        "tax_code": p.at("tax_code"), "unit_label": null, "updated": world.now(), "url": null,
    });
    copy(&mut product, p, &COPIED);
    world.announce("product.created", product);
    if let Some(given) = p.get("default_price_data") {
        let mut price = given.clone();
        price.set("product", id.as_str());
        let price = prices::create(world, &prices::typed(&price))?;
        let mut product = world.require("product", &id, "id")?.clone();
        product.set("default_price", price.text("id"));
        world.update("product.updated", product);
    }
    world.require("product", &id, "id").cloned()
}

fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut product = world.require("product", id, "id")?.clone();
    copy(&mut product, p, &COPIED);
    copy(&mut product, p, &["default_price", "tax_code"]);
    merge_metadata(&mut product, p);
    if world.object(id) != Some(&product) {
        product.set("updated", world.now());
    }
    world.update("product.updated", product.clone());
    Ok(product)
}

fn list(world: &World, p: &Value) -> Result<Value, ApiError> {
    let ids = p.items("ids");
    let all = world.list("product").into_iter().filter(|product| {
        lists::matches(product, p, &["active", "shippable", "url"])
            && lists::within(product.int("created"), p.at("created"))
            && (ids.is_empty() || ids.contains(product.at("id")))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/products")
}

fn delete(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let product = world.require("product", id, "id")?.clone();
    if world
        .list("price")
        .iter()
        .any(|price| price.text("product") == id)
    {
        return Err(ApiError::invalid(
            "This product cannot be deleted because it has one or more user-created prices.",
        ));
    }
    world.emit("product.deleted", &product, None);
    world.remove(id);
    Ok(json!({ "id": id, "object": "product", "deleted": true }))
}
