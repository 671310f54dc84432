"""The sandbox: a strict emulator of Common Room's API over a seeded workspace.

One emulator, mounted twice from the same code: over real HTTP (`Sandbox`, or `python -m integration_tests.sandbox`)
and in process under requests-mock (`mount`).

    workspace = Workspace.generate(activities=3_000)     # or Workspace.of(activities=[…])
    with Sandbox(Api(workspace), latency=0.2) as sandbox:
        sandbox.api.faults.add(Fault("bad_gateway_502", every=5))
        …                                                # a client of sandbox.api_url with sandbox.token
        assert sandbox.api.log.of("/v2/activities")

What it enforces:

- The bearer token, and paths that the token lacks the permission for: 403 in either case, as the API does.
- Only documented paths (404), methods (405) and query parameters, each at most once, with documented values, and
  those that are required (400). v1 refuses in bodies of its own.
- `cols`: a record comes thin, plus the columns asked for; an unknown column is refused, and so is a custom field of
  another type of objects.
- Cursors: opaque, good only for the parameters they were made for, `limit` included. They name the last row
  answered, so rows that come or go during a walk neither repeat nor hide others; those of the style "offset" say how
  many rows stand before the page, so that a row that goes hides another, and one that comes repeats one.
- The rate limit, on request: per token, in fixed intervals, with the API's headers and body.

What the description leaves open and `Traits` choose, `Api(workspace, traits=Traits(…))`:

- Times of activities that are stored finer than they are shown; dates of a query that are compared coarser, or that
  leave out their own moment.
- The order of a path if none is asked for, paths that ignore what is asked, and ids that are compared as texts.
- Paths that never answer a count, and records that no page can be served with.
- Records with values of other types than documented, and such that large pages with them take too long; cursors that
  take another `limit`.
- A `Date` by the API's own clock, `Api.clock`, which may be ahead of the machine or behind it.
- A rate limit that counts for longer than a second; and any other answer of a path, as a test makes it.

Counts that fail are a fault: `Fault("status", status=504, when=counts)`, or `when=counts_longer_than(days=90)`.

What it does not reproduce, or had to decide, because the provider doesn't say:

- The requests for one record (`/contacts/{id}`), writing, and the paths that `endpoints.ENDPOINTS` doesn't list.
- Sorting by a lead score, a custom field, the `lastOrgChange` of prospects or the `score` of their companies, and
  v1's `destinationSourceId`: refused with 400.
- Where empty values sort (here: first), how texts compare (by code point), how `query` treats upper case
  (ignores it), in which order rows come that are equal in the sort key (by id).
- In which order rows come where nothing is said of it, and no trait says it: by id, where that is no number by its
  text. An order by id as text is that of code points.
- What the ids of locations (here: `loc_<number>`), website visits (`w_` and a text) and prospector companies (a
  UUID) look like; whether segments share the ids of their statuses (no); what v1 calls the type `number` (so).
- A well-formed id that doesn't exist matches no record here, but in a path. A segment has members of its own
  `entityType` only, and one of objects those of one type; one of organizations doesn't say who they are.
- A date finer than a millisecond is cut to it, unless times are stored finer. Dates are always cut, never rounded.
  Times finer than a microsecond; shown times that are rounded; a moment that two endpoints tell differently.
- A page that goes wrong for its columns. A record that can't be served is missing in no count, and
  fails the pages that would hold it whatever the columns.
- Cursors that hold a snapshot of their walk, or an offset into the order of another row.
- The age of a cursor (`Api.expire_cursors` ends them all at once), an empty page at the end of a walk, how long an
  expensive column takes.
- The texts of error messages, the bodies of 404 and 405, and v1's of 400. Nothing was compared with the live service.
- Records stand alone: a new contact doesn't change its organization's `contactsCount`.

Custom fields of the types `geo` and `list` are made up, as types that a client doesn't know.
"""

from integration_tests.sandbox.api import DEFAULT_TOKEN, Api
from integration_tests.sandbox.endpoints import ENDPOINTS, Endpoint
from integration_tests.sandbox.faults import KINDS, Fault, counts, counts_longer_than
from integration_tests.sandbox.log import Request
from integration_tests.sandbox.mock import mount
from integration_tests.sandbox.server import Sandbox
from integration_tests.sandbox.traits import Traits
from integration_tests.sandbox.workspace import Workspace

__all__ = [
    "DEFAULT_TOKEN",
    "ENDPOINTS",
    "KINDS",
    "Api",
    "Endpoint",
    "Fault",
    "Request",
    "Sandbox",
    "Traits",
    "Workspace",
    "counts",
    "counts_longer_than",
    "mount",
]
