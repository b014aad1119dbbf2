"""What is generated from proto/ is what is committed, and every declaration says what it is."""

import filecmp


def test_the_committed_code_and_reference_are_as_generated(generated):
    differing = []
    for path in sorted(generated.out.rglob("*")):
        committed = generated.root / path.relative_to(generated.out)
        if path.is_file() and not (
            committed.is_file() and filecmp.cmp(path, committed, shallow=False)
        ):
            differing.append(str(path.relative_to(generated.out)))
    assert not differing, "run `make proto`"


def test_nothing_is_left_of_what_was_generated_once(generated):
    for package in ("workmanager/v1", "workmanager/cloudevents"):
        here = generated.root / "supervisor" / package
        left = {
            str(path.relative_to(here))
            for path in here.rglob("*.py*")
            if path.suffix in (".py", ".pyi")
            and not (generated.out / "supervisor" / package / path.relative_to(here)).exists()
        }
        assert not left, f"delete from {package}"


def test_every_declaration_has_a_comment(generated):
    assert generated.reference.undocumented(generated.found) == []


def test_every_rpc_names_its_twin_in_rest(generated):
    twins = generated.reference.rest_twins(generated.found)
    assert [rpc for rpc, routes in twins.items() if not routes] == []


def test_json_names_are_plain_camel_case(generated):
    """So that every language's own way of camelCase arrives at the name that REST has."""
    for file in generated.found.file:
        for message in file.message_type:
            for field in message.field:
                head, *rest = field.name.split("_")
                assert field.json_name == head + "".join(word.capitalize() for word in rest)


def test_the_cloud_event_is_that_of_the_specification():
    """Full names and numbers of the Protobuf event format; bytes are exchanged as they are."""
    from workmanager.cloudevents.v1 import cloudevents_pb2 as pb

    event = pb.CloudEvent.DESCRIPTOR
    assert (event.full_name, pb.CloudEventBatch.DESCRIPTOR.full_name) == (
        "io.cloudevents.v1.CloudEvent",
        "io.cloudevents.v1.CloudEventBatch",
    )
    assert {field.name: field.number for field in event.fields} == {
        "id": 1,
        "source": 2,
        "spec_version": 3,
        "type": 4,
        "attributes": 5,
        "binary_data": 6,
        "text_data": 7,
        "proto_data": 8,
    }
    value = event.nested_types_by_name["CloudEventAttributeValue"]
    assert {field.name: field.number for field in value.fields} == {
        "ce_boolean": 1,
        "ce_integer": 2,
        "ce_string": 3,
        "ce_bytes": 4,
        "ce_uri": 5,
        "ce_uri_ref": 6,
        "ce_timestamp": 7,
    }
    assert pb.CloudEvent(id="1", source="/s", type="t").SerializeToString() == (
        b"\x0a\x011\x12\x02/s\x22\x01t"
    )
