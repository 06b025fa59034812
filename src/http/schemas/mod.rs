//! JSON that is parsed or written elsewhere, described for the OpenAPI document: `serving` writes answers
//! directly as bytes, and parses the rows of a request in place. `tests/api` checks every answer that it gets
//! against these descriptions.
#![expect(dead_code, reason = "descriptions only: the types they describe are parsed and written elsewhere")]

mod activity;
mod predictions;
mod streams;

pub(crate) use activity::Activity;
pub(crate) use predictions::{PredictAnswer, PredictLine, PredictRequest, Recalled};
pub(crate) use streams::{ForgetAnswer, MemoryAnswer, ObserveAnswer, ObserveLine, ObserveRequest, StreamAnswer};

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A row: a value by the name of each column.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row;

impl PartialSchema for Row {
    fn schema() -> RefOr<Schema> {
        let row = ObjectBuilder::new().schema_type(Type::Object);
        let row = row.additional_properties(Some(AdditionalProperties::FreeForm(true)));
        row.description(Some("A value by the name of each column.")).into()
    }
}

impl ToSchema for Row {}

/// A label in the type and spelling of the training data.
#[derive(Serialize, Deserialize)]
pub(crate) struct Label;

impl PartialSchema for Label {
    fn schema() -> RefOr<Schema> {
        let types = [Type::String, Type::Number, Type::Boolean];
        let label = ObjectBuilder::new().schema_type(SchemaType::from_iter(types));
        label.description(Some("A label, with the type and spelling of the training data.")).into()
    }
}

impl ToSchema for Label {}

/// A file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Binary {}

/// Rows as a JSON body: an array of objects.
pub(crate) struct JsonRows;

impl PartialSchema for JsonRows {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(Row::schema()).description(Some("An array of rows.")).into()
    }
}

impl ToSchema for JsonRows {}
