"""The seed era's create call: `{"codeSource": {"Content": "<base64>"}}`, keys in any case.

Existing scripts send it as it stands, with no name, no media type and often no topic. It is turned
into a manifest here; whatever is wrong with it is reported under the names it was sent with.
"""

from collections.abc import Mapping
from typing import Final

from workmanager.errors import Fault
from workmanager.model.manifest_faults import pointer_of, suggest

_FIELDS: Final = {
    "codesource": "codeSource",
    "mimetype": "mimeType",
    "topic": "topic",
    "group": "group",
    "name": "name",
}
_SOURCE_FIELDS: Final = {"content": "Content", "url": "Url"}


class SeedForm:
    """One seed body: its manifest, its own faults, and where each manifest field came from."""

    def __init__(self, raw: Mapping[str, object]) -> None:
        self.faults: list[Fault] = []
        self._spelled: dict[str, str] = {}
        body = self._fold(raw, _FIELDS, "")
        source = body.get("codesource")
        if not isinstance(source, Mapping):
            self.faults.append(Fault(self._name("codesource"), "must be an object"))
            source = {}
        code = self._fold(source, _SOURCE_FIELDS, self._name("codesource"))
        self.manifest = self._manifest(body, code)

    @property
    def manifest_places(self) -> dict[str, str]:
        """Pointers of the manifest and the pointers of the seed body they stand for."""
        source = self._name("codesource")
        return {
            "spec.code.content": self._name("content", f"{source}.Content"),
            "spec.code.url": self._name("url", f"{source}.Url"),
            "spec.code": source,
            "spec.engine": self._name("mimetype", "mimeType"),
            "spec.triggers[0].topic": self._name("topic"),
            "spec.group": self._name("group"),
            "metadata.name": self._name("name"),
        }

    def _manifest(self, body: dict[str, object], code: dict[str, object]) -> dict[str, object]:
        spec: dict[str, object] = {"code": code, "group": body.get("group")}
        if body.get("mimetype"):
            spec["engine"] = body["mimetype"]
        topic = body.get("topic")
        if topic is not None and topic != "":
            spec["triggers"] = [{"topic": topic}]
        return {"metadata": {"name": body.get("name")}, "spec": spec}

    def _fold(
        self, raw: Mapping[str, object], known: Mapping[str, str], parent: str
    ) -> dict[str, object]:
        """Fold the keys of *raw* to lower case; collect unknown and repeated ones as faults."""
        folded: dict[str, object] = {}
        for key, value in raw.items():
            place = _join(parent, str(key))
            low = str(key).lower()
            if low not in known:
                self.faults.append(Fault(place, suggest(str(key), known.values())))
            elif low in folded:
                self.faults.append(Fault(place, "is given twice, in another case"))
            else:
                folded[low] = value
                self._spelled[low] = place
        return folded

    def _name(self, low: str, default: str = "") -> str:
        return self._spelled.get(low, default or _FIELDS.get(low, low))


def is_seed_form(raw: Mapping[str, object]) -> bool:
    """Tell the seed body from a manifest: only the former has a `codeSource`, and no `spec`."""
    return "spec" not in raw and any(str(key).lower() == "codesource" for key in raw)


def _join(parent: str, key: str) -> str:
    tail = pointer_of((key,))
    return f"{parent}{tail}" if not parent or tail.startswith("[") else f"{parent}.{tail}"
