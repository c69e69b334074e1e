-- Transactions :from (included) to :to (excluded), spread over :users users. Deterministic, like the users.
INSERT INTO public.transactions (id, amount, currency, description, "timestamp", user_id)
SELECT
    id + 1,
    (n1 % 1000000 - 200000) / 100.0,
    (array['USD', 'EUR', 'GBP'])[1 + n2 % 3],
    (array['rent', 'salary', 'groceries', 'train ticket', 'coffee', 'books', 'insurance', NULL])[1 + n2 % 8],
    timestamptz '2021-01-01 00:00:00+00' + (n1 % 2000000) * interval '71 seconds',
    n3 % :users
FROM (
    SELECT id,
           ('x' || substr(md5('transaction ' || id), 1, 7))::bit(28)::int AS n1,
           ('x' || substr(md5('transaction ' || id), 9, 7))::bit(28)::int AS n2,
           ('x' || substr(md5('transaction ' || id), 17, 7))::bit(28)::int AS n3
    FROM generate_series(:from, :to - 1) AS id
) numbers;
