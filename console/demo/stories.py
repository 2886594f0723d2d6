"""What the demo tells: three zones, each a list of scenes in the order in which they happen.

The documents of a zone are `<name>.yaml` beside this file, the outputs of its tools in the files
that its scenes name. An event id stands for the handoff that its output began.
"""

from dataclasses import dataclass, field
from typing import Final, Literal


@dataclass(frozen=True)
class Tools:
    """The outputs of a file. `told` says a sentence before the handoff of an event.

    A declared handoff without a sentence is shown in a line. `implicit` are the events that begin a
    handoff which nobody declared.
    """

    file: str
    told: dict[str, str]
    implicit: tuple[str, ...] = ()


@dataclass(frozen=True)
class Crowd:
    """Many handoffs at once, the outputs of a file: only what they have in common is shown.

    `handoffs` is how many these are, and `repeats` how many with the same values there are by then,
    those before included. `causes` are the kinds of patterns that come of them.
    """

    told: str
    file: str
    handoffs: int
    repeats: int
    causes: tuple[str, ...]


@dataclass(frozen=True)
class ReceiverReply:
    """The receiver says what it did with a handoff: an ack. `late`: its deadline has passed."""

    told: str
    handoff: str
    status: Literal["accepted", "completed"]
    by: str
    late: bool = False


@dataclass(frozen=True)
class Repair:
    """A person repairs a handoff: an amendment. `fields` are JSON texts by name."""

    told: str
    handoff: str
    action: Literal["set", "release", "discard"]
    by: str
    reason: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Silence:
    """Nobody does anything, until the deadline of a handoff has passed."""

    told: str
    handoff: str


@dataclass(frozen=True)
class Appointment:
    """A person is named as the owner of a receiver.

    What was held for want of one is released; what was sent all the same is reassigned.
    """

    told: str
    receiver: str
    name: str
    contact: str
    released: tuple[str, ...]
    reassigned: tuple[str, ...] = ()


Scene = Tools | Crowd | ReceiverReply | Repair | Silence | Appointment


@dataclass(frozen=True)
class DemoStory:
    """One zone."""

    name: str
    title: str
    before: str
    scenes: tuple[Scene, ...]
    after: str


STORIES: Final = (
    DemoStory(
        "sales",
        "Sales to marketing: the conversation stays behind",
        "A call told sales what a lead fears, when it decides and what it can spend. What reaches "
        "marketing is what somebody copies.",
        (
            Tools(
                "sales-undeclared.jsonl",
                {
                    "mail-0": "First as it happens every day: nobody declares anything. Somebody "
                    "pastes a name and an e-mail into the mailer, and its first output shows what "
                    "marketing works with. The stages say that there was a handoff, and the "
                    "contract says what it left behind.",
                },
                implicit=("mail-0",),
            ),
            Tools(
                "sales.jsonl",
                {
                    "crm-1": "Now the same, declared: the CRM hands a lead to marketing, with a "
                    "name, an e-mail and a line of prose. The package is whole before anyone reads "
                    "it; the date of the decision stood only in the words of the summary.",
                    "crm-2": "Two budgets were named in this call. Which one holds? The contract "
                    "allows no guess, so the field stays open and its owner is told.",
                    "crm-3": "And this is how it looks when nothing is lost.",
                },
            ),
            Repair(
                "Ilse asks the lead and fills the budget in. The package goes out again, and says "
                "who did it and why.",
                "crm-2",
                "set",
                by="Ilse Kramer",
                reason="asked the lead on the phone",
                fields={"budget": "20000"},
            ),
            ReceiverReply(
                "Dana takes that first lead up, and sales is told.",
                "crm-1",
                "accepted",
                "Dana Reyes",
            ),
            ReceiverReply("Her track has run.", "crm-1", "completed", "Dana Reyes"),
        ),
        "Dropped fields came back from the same task's earlier outputs, each with its origin. "
        "Where nobody declares a handoff, the package comes when the next team has begun; "
        "declared, it is there before.",
    ),
    DemoStory(
        "operations",
        "Operations to support: other words, other shapes",
        "Operations numbers its customers and speaks of SEV1; support files them by C-4411 and "
        "knows urgent, high and normal. And support looks into its queue twice a day.",
        (
            Tools(
                "operations.jsonl",
                {
                    "ops-771": "Nothing is missing here, and yet support cannot file it: a number "
                    "where it keeps text, and a priority that it does not have.",
                    "ops-772": "The same tool with the agreed words: P1 becomes urgent on the way.",
                    "ops-773": "A parcel for the sorting robot, which has one second to take it "
                    "off the belt. The package is whole.",
                },
            ),
            Silence("The robot says nothing, and the second passes.", "ops-773"),
            ReceiverReply(
                "It wakes up and takes the parcel. The stall is resolved, and it was late.",
                "ops-773",
                "accepted",
                "sorting-robot-2",
                late=True,
            ),
        ),
        "Support's deadline is 12 hours because support looks every 12: `handoff contracts lint` "
        "refuses a contract that promises an answer before anyone has looked.",
    ),
    DemoStory(
        "support",
        "Support to engineering: the same failure, and nobody there",
        "Five customers, one failure. Each ticket is escalated in prose to a queue whose last "
        "owner left long ago.",
        (
            Tools(
                "support.jsonl",
                {
                    "esc-310": "The error code stands in the text, the steps nowhere; the task "
                    "knows both. But nobody answers for this queue: the package is held, not lost.",
                    "esc-315": "Somebody tries another address, and it does not exist.",
                },
            ),
            Repair(
                "Priya owns the contract. She cannot wait, and releases the first one with her "
                "reason.",
                "esc-310",
                "release",
                "Priya Nair",
                "the customer is down; I read this queue myself today",
            ),
            Repair(
                "What went to a wrong address she discards.",
                "esc-315",
                "discard",
                "Priya Nair",
                "ticket-310 has the same failure",
            ),
            Appointment(
                "Then engineering puts a name on its queue: one `handoff receivers apply`. The "
                "first one has an owner now, and what was held for want of one goes out by itself.",
                "platform-engineering",
                "Lena Fuchs",
                "lena@nordlicht.example",
                released=("esc-311", "esc-312", "esc-313", "esc-314"),
                reassigned=("esc-310",),
            ),
            Crowd(
                "And the tickets go on: forty by noon. Each is whole and none is wrong, so nothing "
                "turns red. What engineering gets beside them is one entry in its queue, at the "
                "fifth, and again each time that the count has doubled: the last word may be of "
                "some fewer.",
                "support-crowd.jsonl",
                handoffs=35,
                repeats=40,
                causes=("repeat", "undocumented_handoff"),
            ),
        ),
        "Nothing went to a queue that nobody reads, each sender was told so at once, and forty "
        "tickets are one pattern.",
    ),
)
