"""A worker as it was declared, in memory: what the store holds of it, and its versions."""

from __future__ import annotations

from dataclasses import dataclass, field

from workmanager.model.spec import WorkerSpec
from workmanager.model.states import DesiredState, VersionState
from workmanager.store.rows import VersionRow, WorkerRow


@dataclass(slots=True)
class WorkerRecord:
    """What was declared. Times are unix seconds; `row` is what the store keeps."""

    no: int
    uid: str
    name: str
    spec: WorkerSpec
    desired: DesiredState
    generation: int
    created_at: float
    updated_at: float
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    current: str = ""
    deleted_at: float | None = None
    stamp: str = ""  # of the shared registry's record that this is
    versions: dict[str, VersionRow] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """Changes whenever the declaration does; the quotes of HTTP are REST's business."""
        return f"{self.uid[:8]}-{self.generation}"

    def row(self) -> WorkerRow:
        """The row of the store."""
        return WorkerRow(
            no=self.no,
            uid=self.uid,
            name=self.name,
            spec=self.spec.model_dump(mode="json", by_alias=True),
            desired_state=self.desired.value,
            generation=self.generation,
            etag=self.etag,
            created_at=self.created_at,
            updated_at=self.updated_at,
            labels=dict(self.labels),
            annotations=dict(self.annotations),
            current_version=self.current,
            dead_letter_retention_s=self.spec.dead_letter.retention_s,
            deleted_at=self.deleted_at,
            stamp=self.stamp,
        )

    @classmethod
    def from_row(cls, row: WorkerRow) -> WorkerRecord:
        """Read a row of the store.

        Raises:
            pydantic.ValidationError: The stored specification is not valid any more.
        """
        return cls(
            no=row.no,
            uid=row.uid,
            name=row.name,
            spec=WorkerSpec.model_validate(row.spec),
            desired=DesiredState(row.desired_state),
            generation=row.generation,
            created_at=row.created_at,
            updated_at=row.updated_at,
            labels={k: str(v) for k, v in row.labels.items()},
            annotations={k: str(v) for k, v in row.annotations.items()},
            current=row.current_version,
            deleted_at=row.deleted_at,
            stamp=row.stamp,
        )

    def version_spec(self, version: str) -> WorkerSpec:
        """Return the specification that *version* was made from."""
        return WorkerSpec.model_validate(self.versions[version].spec)

    def set_version_state(self, version: str, state: VersionState, message: str = "") -> VersionRow:
        """Change a version's state; returns its new row."""
        old = self.versions[version]
        new = VersionRow(
            worker_no=old.worker_no,
            id=old.id,
            digest=old.digest,
            code_digest=old.code_digest,
            engine=old.engine,
            handler=old.handler,
            spec=old.spec,
            state=state.value,
            size_bytes=old.size_bytes,
            created_at=old.created_at,
            message=message or old.message,
        )
        self.versions[version] = new
        return new
