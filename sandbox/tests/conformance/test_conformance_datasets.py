from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from conformance.client import Client


@pytest.fixture
def new_dataset(client: Client) -> Iterator[bigquery.Dataset]:
    made = bigquery.Dataset(f"{client.project}.conformance_{uuid.uuid4().hex[:10]}")
    made.location = "US"
    made.description = "made by a test"
    made.friendly_name = "A test"
    made.labels = {"made-by": "conformance"}
    yield client.create_dataset(made)
    client.delete_dataset(made.reference, delete_contents=True, not_found_ok=True)


def test_a_dataset_comes_back_as_it_was_made(client: Client, new_dataset: bigquery.Dataset) -> None:
    found = client.get_dataset(new_dataset.reference)
    assert (found.description, found.friendly_name) == ("made by a test", "A test")
    assert found.labels == {"made-by": "conformance"}
    assert found.location == "US"
    assert found.etag
    assert found.created is not None
    assert found.modified is not None


def test_making_a_dataset_that_exists_is_409_duplicate(
    client: Client, new_dataset: bigquery.Dataset
) -> None:
    with pytest.raises(exceptions.Conflict) as caught:
        client.create_dataset(new_dataset.reference)
    assert caught.value.errors[0]["reason"] == "duplicate"
    client.create_dataset(new_dataset.reference, exists_ok=True)


def test_an_unknown_dataset_is_404_not_found(client: Client) -> None:
    with pytest.raises(exceptions.NotFound) as caught:
        client.get_dataset(f"{client.project}.conformance_nowhere")
    assert caught.value.errors[0]["reason"] == "notFound"
    assert "conformance_nowhere" in caught.value.message


def test_deleting_a_dataset_with_a_table_is_400_resource_in_use(
    client: Client, new_dataset: bigquery.Dataset
) -> None:
    schema = [bigquery.SchemaField("a", "STRING")]
    client.create_table(bigquery.Table(new_dataset.reference.table("t"), schema=schema))
    with pytest.raises(exceptions.BadRequest) as caught:
        client.delete_dataset(new_dataset.reference)
    assert caught.value.errors[0]["reason"] == "resourceInUse"
    client.delete_dataset(new_dataset.reference, delete_contents=True)
    with pytest.raises(exceptions.NotFound):
        client.get_dataset(new_dataset.reference)


def test_deleting_an_unknown_dataset_is_404(client: Client) -> None:
    with pytest.raises(exceptions.NotFound):
        client.delete_dataset(f"{client.project}.conformance_nowhere")


def test_a_patch_changes_what_it_names_and_nothing_else(
    client: Client, new_dataset: bigquery.Dataset
) -> None:
    new_dataset.description = "changed"
    new_dataset.labels = {"made-by": None, "new": "yes"}
    new_dataset.default_table_expiration_ms = 3_600_000
    changed = client.update_dataset(
        new_dataset, ["description", "labels", "default_table_expiration_ms"]
    )
    assert changed.description == "changed"
    assert changed.labels == {"new": "yes"}
    assert changed.friendly_name == "A test"
    assert changed.default_table_expiration_ms == 3_600_000


def test_a_patch_with_a_stale_etag_is_412(client: Client, new_dataset: bigquery.Dataset) -> None:
    stale = client.get_dataset(new_dataset.reference)
    fresh = client.get_dataset(new_dataset.reference)
    fresh.description = "first"
    client.update_dataset(fresh, ["description"])
    stale.description = "second"
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_dataset(stale, ["description"])


def test_datasets_are_listed_in_pages(
    client: Client, new_dataset: bigquery.Dataset, dataset: str
) -> None:
    pages = list(client.list_datasets(page_size=1).pages)
    assert all(page.num_items <= 1 for page in pages)
    names = {item.dataset_id for item in client.list_datasets(page_size=1)}
    assert {new_dataset.dataset_id, dataset.rpartition(".")[2]} <= names


def test_a_bad_dataset_name_is_400_invalid(client: Client) -> None:
    with pytest.raises(exceptions.BadRequest) as caught:
        client.create_dataset(f"{client.project}.not-a-name")
    assert caught.value.errors[0]["reason"] == "invalid"


def test_a_project_with_a_dataset_is_listed(client: Client, dataset: str) -> None:
    assert dataset.partition(".")[0] in {project.project_id for project in client.list_projects()}
