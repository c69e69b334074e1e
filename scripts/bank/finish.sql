-- The identities go on where the generated rows end.
SELECT setval('public.users_id_seq', (SELECT max(id) FROM public.users)) AS _,
       setval('public.transactions_id_seq', (SELECT max(id) FROM public.transactions)) AS _ \gset ignored_
VACUUM ANALYZE public.users, public.transactions;
