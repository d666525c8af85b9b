-- Runs once, when the database server's volume is empty: a role and a database of its own for the
-- state store. The password comes from a file, so that it is on no command line.
\set password `cat /run/secrets/state_postgres_password`
CREATE ROLE convergence LOGIN PASSWORD :'password';
CREATE DATABASE convergence OWNER convergence;
REVOKE CONNECT ON DATABASE convergence FROM PUBLIC;
