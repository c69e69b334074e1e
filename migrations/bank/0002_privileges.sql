-- What the application's login (psql variable "app") may do: rows, not structure. Row and column privileges and row
-- security back the firewall up; it does not replace them.

GRANT USAGE ON SCHEMA public TO :"app";
GRANT SELECT, INSERT, UPDATE, DELETE ON public.users, public.transactions TO :"app";
GRANT USAGE, SELECT ON SEQUENCE public.users_id_seq, public.transactions_id_seq TO :"app";
