-- Users :from (included) to :to (excluded). Everything follows from the id through md5 and sha256, so that two loads
-- are equal. Card numbers begin with well-known test prefixes and satisfy the Luhn check; every 101st user has none.
INSERT INTO public.users (id, created_at, credit_card, currency, email, is_active, country, num_logins, password_hash, username)
SELECT
    id,
    timestamptz '2020-01-01 00:00:00+00' + (n1 % 100000) * interval '17 minutes',
    CASE WHEN id % 101 = 100 THEN NULL ELSE payload || luhn END,
    (array['USD', 'EUR', 'GBP'])[1 + n2 % 3],
    'user' || id || '@example.com',
    n3 % 5 <> 0,
    (array['US', 'DE', 'FR', 'GB', 'IN', 'BR', 'JP'])[1 + n2 % 7],
    CASE WHEN n3 % 11 = 0 THEN NULL ELSE n3 % 400 END,
    '$2b$12$' || left(translate(encode(sha256(convert_to('hash a ' || id, 'UTF8')), 'base64')
                             || encode(sha256(convert_to('hash b ' || id, 'UTF8')), 'base64'), '+=', '..'), 53),
    lower((array['ada', 'alan', 'barbara', 'edgar', 'edsger', 'frances', 'grace', 'jim', 'ken', 'leslie'])[1 + n1 % 10]) || id
FROM (
    SELECT id, payload, n1, n2, n3,
           (SELECT (10 - sum(CASE WHEN i % 2 = 1 THEN (array[0, 2, 4, 6, 8, 1, 3, 5, 7, 9])[digit + 1] ELSE digit END) % 10) % 10
            FROM (SELECT i, substr(reverse(payload), i, 1)::int AS digit FROM generate_series(1, length(payload)) i) digits) AS luhn
    FROM (
        SELECT id,
               CASE WHEN prefix LIKE '37%' THEN left(prefix || digits, 14) ELSE left(prefix || digits, 15) END AS payload,
               n1, n2, n3
        FROM (
            SELECT id,
                   translate(md5('card ' || id), 'abcdef', '012345') AS digits,
                   (array['411111', '424242', '401288', '555555', '510510', '378282', '371449'])[1 + n1 % 7] AS prefix,
                   n1, n2, n3
            FROM (
                SELECT id,
                       ('x' || substr(md5('user ' || id), 1, 7))::bit(28)::int AS n1,
                       ('x' || substr(md5('user ' || id), 9, 7))::bit(28)::int AS n2,
                       ('x' || substr(md5('user ' || id), 17, 7))::bit(28)::int AS n3
                FROM generate_series(:from, :to - 1) AS id
            ) numbers
        ) prefixes
    ) payloads
) cards;
