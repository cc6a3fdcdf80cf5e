"""What a failure says, and what it must not say."""

from adapters.failure import Failure, Kind


def test_a_secret_is_taken_out_of_all_that_a_failure_says():
    failure = Failure(
        Kind.KEY,
        "the key k-secret-1 is wrong",
        type="k-secret-1",
        code="code k-secret-1",
        param="k-secret-1.x",
        body=b'{"error": "k-secret-1"}',
    )
    failure.conceal("k-secret-1")
    said = f"{failure!r} {failure} {failure.args} {failure.type} {failure.param} {failure.code} {failure.body!r}"
    assert "k-secret-1" not in said
    assert failure.message == "the key [removed] is wrong"
    assert failure.param == "[removed].x"
    quiet = Failure(Kind.KEY, "nothing to hide")
    quiet.conceal("k-secret-1")
    assert (quiet.message, quiet.param, quiet.body) == ("nothing to hide", None, None)
