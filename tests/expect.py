"""What each sample client must see in each column of public.users, by classification.yaml. Text forms."""

import re

COLUMNS = "id created_at credit_card currency email is_active country num_logins password_hash username".split()
CLIENTS = ["users-api", "users-auth", "analyst", "card-issuer", "operator"]
PLAIN = "plain"

# client → column → how it is handled; what is not named is plain
HANDLED = {
    "users-api": {"credit_card": "encrypt", "password_hash": "drop"},
    "users-auth": {"credit_card": "encrypt"},
    "analyst": {"credit_card": "last4", "email": "tokenize", "password_hash": "drop"},
    "card-issuer": {"password_hash": "drop"},
    "operator": {},
}

TOKEN = re.compile(r"rf1_[A-Za-z0-9_-]{40,}")
EMAIL_TOKEN = re.compile(r"tok_[A-Za-z0-9_-]{16,}")


def check(client, column, true, got):
    """One value as text (or None)."""
    how = HANDLED[client].get(column, PLAIN)
    where = f"{client}.{column}"
    if true is None or how == "drop":
        assert got is None, f"{where}: {got!r} instead of NULL"
    elif how == PLAIN:
        assert got == true, f"{where}: {got!r} instead of {true!r}"
    elif how == "encrypt":
        assert got is not None and TOKEN.fullmatch(got), f"{where}: {got!r} is no token"
        assert true not in got
    elif how == "last4":
        assert got == "*" * (len(true) - 4) + true[-4:], f"{where}: {got!r}"
    elif how == "tokenize":
        assert got is not None and EMAIL_TOKEN.fullmatch(got), f"{where}: {got!r} is no token"
    else:
        raise AssertionError(how)


def check_row(client, true, got, columns=COLUMNS):
    assert len(got) == len(columns)
    for column, value in zip(columns, got):
        check(client, column, true[column], value)


def as_text(column, value):
    """A driver's Python value as psql would print it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "t" if value else "f"
    if column == "created_at":
        return value.strftime("%Y-%m-%d %H:%M:%S") + "+00"
    return str(value)
