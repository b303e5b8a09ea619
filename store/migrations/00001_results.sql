-- Records of cloudIDs, what of them is to be delivered, and who was erased. store/postgres.go says how they are used; store/keys.go has the table of the
-- rules that cloudidq_claim and cloudidq_save obey, and how ids are hashed.
--
-- Every write takes its locks in one order, so that no two of them wait for each other: first the advisory locks of
-- persons, sorted, then rows by their hash of the cloudID. The sweep never waits.

-- +goose Up
CREATE TABLE cloudidq_records (
    app        bytea       NOT NULL, -- 4 bytes of sha256(appid)
    cloud      bytea       NOT NULL, -- 16 bytes of sha256(appid NUL cloud_id)
    person     bytea,                -- 16 bytes of the person's hash; null: nobody is known, or a tombstone
    rank       smallint    NOT NULL, -- 0 pending, 1 failed or expired, 2 resolved, 3 erased: a tombstone without a body
    owner      bytea       NOT NULL, -- 8 bytes of sha256(task id); empty: nobody
    until      bigint      NOT NULL, -- when the claim lapses, in Unix milliseconds; 0: not claimed
    body       bytea       NOT NULL, -- the record's JSON, sealed if it does not begin with "{"
    expires_at timestamptz NOT NULL, -- a record that has expired is not there, whether or not it has been swept
    PRIMARY KEY (cloud, app)         -- the one that tells rows apart comes first
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
-- What is sealed does not compress.
ALTER TABLE cloudidq_records ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX cloudidq_records_person ON cloudidq_records (person) WHERE person IS NOT NULL;
CREATE INDEX cloudidq_records_expiry ON cloudidq_records (expires_at);

CREATE TABLE cloudidq_persons (
    app        bytea       NOT NULL,
    person     bytea       NOT NULL,
    erased_at  bigint      NOT NULL, -- in Unix milliseconds: what was accepted up to then gets no record any more
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (person, app)
);
CREATE INDEX cloudidq_persons_expiry ON cloudidq_persons (expires_at);

-- Ends on their way to the outbox in Redis. A row is there from the save until Redis has it.
CREATE TABLE cloudidq_outbox (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app        bytea       NOT NULL,
    cloud      bytea       NOT NULL,
    person     bytea,
    accepted   bigint      NOT NULL, -- in Unix milliseconds
    endpoint   text        NOT NULL,
    item       bytea       NOT NULL, -- see outbox.go
    expires_at timestamptz NOT NULL
);
CREATE INDEX cloudidq_outbox_person ON cloudidq_outbox (person) WHERE person IS NOT NULL;
ALTER TABLE cloudidq_outbox ALTER COLUMN item SET STORAGE EXTERNAL;

-- The functions leave the planner no choice but to look each row up by its key: a plan is kept for as long as its
-- connection, and one that was made for an empty table would read all of a large one.

-- +goose StatementBegin
-- Claims records for one task. States: 0 claimed as sent | 1 busy | 2 erased | 3 claimed, the record as it was | 4 done.
CREATE FUNCTION cloudidq_claim(
    p_locks bigint[], p_app bytea, p_owner bytea, p_now bigint, p_until bigint, p_ttl interval,
    p_clouds bytea[], p_persons bytea[], p_accepted bigint[], p_bodies bytea[]
) RETURNS TABLE (o_state integer, o_rank smallint, o_body bytea)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET jit = off
AS $$
DECLARE
    clock timestamptz;
    fresh bytea[];
BEGIN
    -- No erasure of these persons runs beside this, so that none overlooks a record that is about to come. What follows
    -- sees what was committed while this waited: each statement of a function has a snapshot of its own.
    PERFORM pg_advisory_xact_lock_shared(k) FROM unnest(p_locks) AS k;
    clock := clock_timestamp();

    -- What is not there is written, a tombstone if its person was erased since it was accepted. What is there is locked.
    WITH arrived AS (
        INSERT INTO cloudidq_records AS r (app, cloud, person, rank, owner, until, body, expires_at)
        SELECT p_app, i.cloud,
            CASE WHEN e.person IS NULL THEN i.person END,
            CASE WHEN e.person IS NULL THEN 0 ELSE 3 END,
            CASE WHEN e.person IS NULL THEN p_owner ELSE '' END,
            CASE WHEN e.person IS NULL THEN p_until ELSE 0 END,
            CASE WHEN e.person IS NULL THEN i.body ELSE '' END,
            clock + p_ttl
        FROM unnest(p_clouds, p_persons, p_accepted, p_bodies) AS i (cloud, person, accepted, body)
        LEFT JOIN cloudidq_persons AS e
            ON e.app = p_app AND e.person = i.person AND e.erased_at >= i.accepted AND e.expires_at > clock
        ORDER BY i.cloud
        ON CONFLICT (cloud, app) DO UPDATE
            SET (person, rank, owner, until, body, expires_at) = (
                excluded.person, excluded.rank, excluded.owner, excluded.until, excluded.body, excluded.expires_at)
            WHERE r.expires_at <= clock
        RETURNING r.cloud
    )
    SELECT array_agg(arrived.cloud) INTO fresh FROM arrived;

    RETURN QUERY
    WITH there AS (
        SELECT i.n, i.person, r.cloud, r.rank, r.body,
            CASE
                WHEN r.rank = 3 THEN 2
                WHEN r.cloud = ANY (fresh) THEN 0
                WHEN r.rank = 2 OR (r.rank = 1 AND r.owner = p_owner AND r.until = 0) THEN 4
                WHEN r.owner <> p_owner AND r.until > p_now THEN 1
                ELSE 3
            END AS state
        FROM unnest(p_clouds, p_persons) WITH ORDINALITY AS i (cloud, person, n)
        JOIN cloudidq_records AS r ON r.app = p_app AND r.cloud = i.cloud
    ), taken AS (
        UPDATE cloudidq_records AS r
        SET owner = p_owner, until = p_until, person = coalesce(r.person, there.person),
            expires_at = CASE there.rank WHEN 0 THEN clock + p_ttl ELSE r.expires_at END
        FROM there
        WHERE there.state = 3 AND r.app = p_app AND r.cloud = there.cloud
    )
    SELECT there.state, there.rank, CASE WHEN there.state >= 3 THEN there.body END FROM there ORDER BY there.n;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Saves records of any apps for one task. It returns, per record, whether it was written, and will stay as it is if it
-- is an end.
CREATE FUNCTION cloudidq_save(
    p_locks bigint[], p_owner bytea, p_ttl interval,
    p_apps bytea[], p_clouds bytea[], p_persons bytea[], p_accepted bigint[], p_ranks smallint[], p_bodies bytea[],
    p_kept interval, p_endpoints text[], p_items bytea[] -- an empty endpoint: it is not to be delivered
) RETURNS boolean[]
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET jit = off
AS $$
DECLARE
    clock   timestamptz;
    fresh   bytea[];
    answers boolean[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(k) FROM unnest(p_locks) AS k; -- as in cloudidq_claim
    clock := clock_timestamp();

    -- What is not there is written. If its person was erased since it was accepted, the row is empty and has expired, so
    -- is not there: rows are locked in one pass and one order, and none can be left out of it.
    WITH arrived AS (
        INSERT INTO cloudidq_records AS r (app, cloud, person, rank, owner, until, body, expires_at)
        SELECT i.app, i.cloud,
            CASE WHEN e.person IS NULL THEN i.person END,
            i.rank, p_owner, 0,
            CASE WHEN e.person IS NULL THEN i.body ELSE '' END,
            CASE WHEN e.person IS NULL THEN clock + p_ttl ELSE '-infinity' END
        FROM unnest(p_apps, p_clouds, p_persons, p_accepted, p_ranks, p_bodies)
            AS i (app, cloud, person, accepted, rank, body)
        LEFT JOIN cloudidq_persons AS e
            ON e.app = i.app AND e.person = i.person AND e.erased_at >= i.accepted AND e.expires_at > clock
        ORDER BY i.cloud
        ON CONFLICT (cloud, app) DO UPDATE
            SET (person, rank, owner, until, body, expires_at) = (
                excluded.person, excluded.rank, excluded.owner, excluded.until, excluded.body, excluded.expires_at)
            WHERE r.expires_at <= clock
        RETURNING r.cloud
    )
    SELECT array_agg(arrived.cloud) INTO fresh FROM arrived;

    WITH there AS (
        SELECT i.*, r.rank AS had, r.owner AS holder, r.until AS held,
            CASE
                WHEN i.cloud = ANY (fresh) THEN CASE WHEN r.expires_at > clock THEN 'arrived' ELSE 'erased' END
                WHEN r.rank >= 2 THEN 'stays'
                WHEN i.rank > 0 THEN 'write'
                WHEN r.rank = 0 THEN CASE WHEN r.owner = p_owner THEN 'write' ELSE 'update' END
                WHEN r.owner = p_owner AND r.until <> 0 THEN 'release'
                ELSE 'stays'
            END AS fate
        FROM unnest(p_apps, p_clouds, p_persons, p_ranks, p_bodies, p_accepted, p_endpoints, p_items)
            WITH ORDINALITY AS i (app, cloud, person, rank, body, accepted, endpoint, item, n)
        JOIN cloudidq_records AS r ON r.app = i.app AND r.cloud = i.cloud
    ), written AS (
        UPDATE cloudidq_records AS r
        SET person = coalesce(there.person, r.person), rank = there.rank, body = there.body, expires_at = clock + p_ttl,
            owner = CASE there.fate WHEN 'write' THEN p_owner ELSE r.owner END,
            until = CASE there.fate WHEN 'write' THEN 0 ELSE r.until END
        FROM there
        WHERE there.fate IN ('write', 'update') AND r.app = there.app AND r.cloud = there.cloud
    ), owed AS (
        -- A task that has ended the record already repeats a save whose answer it has not heard.
        INSERT INTO cloudidq_outbox (app, cloud, person, accepted, endpoint, item, expires_at)
        SELECT there.app, there.cloud, there.person, there.accepted, there.endpoint, there.item, clock + p_kept
        FROM there
        WHERE there.endpoint <> '' AND there.rank > 0 AND (there.fate = 'arrived' OR there.fate = 'write'
            AND (there.had = 0 OR there.holder <> p_owner OR there.held <> 0 OR there.rank = 2))
        ORDER BY there.n
    ), released AS (
        UPDATE cloudidq_records AS r
        SET owner = '', until = 0
        FROM there
        WHERE there.fate = 'release' AND r.app = there.app AND r.cloud = there.cloud
    )
    SELECT array_agg(there.fate IN ('arrived', 'write', 'update') ORDER BY there.n) INTO answers FROM there;
    RETURN answers;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION cloudidq_lookup(p_app bytea, p_clouds bytea[])
RETURNS TABLE (o_n bigint, o_rank smallint, o_body bytea)
LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT i.n, r.rank, r.body
    FROM unnest(p_clouds) WITH ORDINALITY AS i (cloud, n)
    JOIN cloudidq_records AS r ON r.app = p_app AND r.cloud = i.cloud
    WHERE r.rank < 3 AND r.expires_at > clock_timestamp();
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Erases the records of one person and returns how many there were.
CREATE FUNCTION cloudidq_erase(
    p_lock bigint, p_app bytea, p_person bytea, p_now bigint, p_ttl interval, p_known interval
) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    clock  timestamptz;
    erased bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(p_lock); -- see cloudidq_claim
    clock := clock_timestamp();
    INSERT INTO cloudidq_persons AS e (app, person, erased_at, expires_at)
    VALUES (p_app, p_person, p_now, clock + p_known)
    ON CONFLICT (person, app) DO UPDATE
        SET erased_at = greatest(e.erased_at, excluded.erased_at), expires_at = excluded.expires_at;

    DELETE FROM cloudidq_outbox AS o WHERE o.app = p_app AND o.person = p_person;
    PERFORM FROM cloudidq_records AS r WHERE r.app = p_app AND r.person = p_person ORDER BY r.cloud FOR UPDATE;
    DELETE FROM cloudidq_records AS r WHERE r.app = p_app AND r.person = p_person AND r.expires_at <= clock;
    UPDATE cloudidq_records AS r
    SET person = NULL, rank = 3, owner = '', until = 0, body = '', expires_at = clock + p_ttl
    WHERE r.app = p_app AND r.person = p_person;
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Deletes up to p_limit expired rows of each table and returns how many there were. What is in use is left for later.
CREATE FUNCTION cloudidq_sweep(p_limit integer) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    records bigint;
    persons bigint;
BEGIN
    DELETE FROM cloudidq_records WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM cloudidq_records AS r WHERE r.expires_at <= now()
        ORDER BY r.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS records = ROW_COUNT;
    DELETE FROM cloudidq_persons WHERE ctid = ANY (ARRAY(
        SELECT e.ctid FROM cloudidq_persons AS e WHERE e.expires_at <= now()
        ORDER BY e.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS persons = ROW_COUNT;
    DELETE FROM cloudidq_outbox WHERE expires_at <= now(); -- few, if Redis has been away for days
    RETURN records + persons;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION cloudidq_sweep, cloudidq_erase, cloudidq_lookup, cloudidq_save, cloudidq_claim;
DROP TABLE cloudidq_outbox, cloudidq_persons, cloudidq_records;
