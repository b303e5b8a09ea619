-- A record belongs to the person that the last claim or save on it carried; claims and erasures are moments of this server's
-- clock; an erasure takes several hashes of a person. Processes of the former version go on calling the functions that they
-- know, which obey the new rules.

-- +goose Up
-- Unix milliseconds, and microseconds, of a moment.
-- +goose StatementBegin
CREATE FUNCTION cloudidq_micros(p_moment timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT
AS $$ SELECT (extract(epoch FROM p_moment) * 1000000)::bigint $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Claims records for one task, for p_for milliseconds. States: 0 claimed, stored as sent | 1 busy | 2 erased | 3 claimed, the
-- record as it was | 4 done.
CREATE FUNCTION cloudidq_claim(
    p_locks bigint[], p_app bytea, p_owner bytea, p_for bigint, p_ttl interval,
    p_clouds bytea[], p_persons bytea[], p_accepted bigint[], p_bodies bytea[]
) RETURNS TABLE (o_state integer, o_rank smallint, o_body bytea)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off SET jit = off
AS $$
DECLARE
    clock   timestamptz;
    now_ms  bigint;
    till_ms bigint;
    fresh   bytea[];
BEGIN
    -- No erasure of these persons runs beside this, so that none overlooks a record that is about to come. What follows
    -- sees what was committed while this waited: each statement of a function has a snapshot of its own.
    PERFORM pg_advisory_xact_lock_shared(k) FROM unnest(p_locks) AS k;
    clock := clock_timestamp();
    now_ms := cloudidq_micros(clock) / 1000;
    till_ms := least(greatest(now_ms + p_for, 1), 9999999999999);

    -- What is not there is written, a tombstone if its person was erased since it was accepted. What is there is locked.
    WITH arrived AS (
        INSERT INTO cloudidq_records AS r (app, cloud, person, rank, owner, until, body, expires_at)
        SELECT p_app, i.cloud,
            CASE WHEN e.person IS NULL THEN i.person END,
            CASE WHEN e.person IS NULL THEN 0 ELSE 3 END,
            CASE WHEN e.person IS NULL THEN p_owner ELSE '' END,
            CASE WHEN e.person IS NULL THEN till_ms ELSE 0 END,
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

    -- State 5: another's record, which the one that was sent replaces.
    RETURN QUERY
    WITH there AS (
        SELECT i.n, i.person, i.body AS sent, r.cloud, r.rank, r.body,
            CASE
                WHEN r.rank = 3 THEN 2
                WHEN r.cloud = ANY (fresh) THEN 0
                WHEN r.rank = 2 THEN 4
                WHEN e.person IS NOT NULL THEN 2
                WHEN r.rank = 1 AND r.owner = p_owner AND r.until = 0 THEN 4
                WHEN r.owner <> p_owner AND r.until > now_ms THEN 1
                WHEN r.person IS DISTINCT FROM i.person THEN 5
                ELSE 3
            END AS state
        FROM unnest(p_clouds, p_persons, p_accepted, p_bodies) WITH ORDINALITY AS i (cloud, person, accepted, body, n)
        JOIN cloudidq_records AS r ON r.app = p_app AND r.cloud = i.cloud
        LEFT JOIN cloudidq_persons AS e
            ON e.app = p_app AND e.person = i.person AND e.erased_at >= i.accepted AND e.expires_at > clock
    ), taken AS (
        UPDATE cloudidq_records AS r
        SET owner = p_owner, until = till_ms, person = there.person,
            rank = CASE there.state WHEN 5 THEN 0 ELSE r.rank END,
            body = CASE there.state WHEN 5 THEN there.sent ELSE r.body END,
            expires_at = CASE WHEN there.state = 5 OR there.rank = 0 THEN clock + p_ttl ELSE r.expires_at END
        FROM there
        WHERE there.state IN (3, 5) AND r.app = p_app AND r.cloud = there.cloud
    )
    SELECT CASE there.state WHEN 5 THEN 0 ELSE there.state END, there.rank,
        CASE WHEN there.state IN (3, 4) THEN there.body END
    FROM there ORDER BY there.n;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- The former version calls it with two moments of its machine's clock. Only their distance counts.
CREATE OR REPLACE FUNCTION cloudidq_claim(
    p_locks bigint[], p_app bytea, p_owner bytea, p_now bigint, p_until bigint, p_ttl interval,
    p_clouds bytea[], p_persons bytea[], p_accepted bigint[], p_bodies bytea[]
) RETURNS TABLE (o_state integer, o_rank smallint, o_body bytea)
LANGUAGE sql
AS $$
    SELECT c.o_state, c.o_rank, c.o_body FROM cloudidq_claim(
        p_locks, p_app, p_owner, p_until - p_now, p_ttl, p_clouds, p_persons, p_accepted, p_bodies) AS c;
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Saves records of any apps for one task. It returns, per record, whether it was written, and will stay as it is if it
-- is an end.
CREATE OR REPLACE FUNCTION cloudidq_save(
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
                WHEN e.person IS NOT NULL THEN CASE WHEN r.owner = p_owner AND r.until <> 0 THEN 'release' ELSE 'erased' END
                WHEN i.rank > 0 THEN 'write'
                WHEN r.rank = 0 AND r.owner = p_owner THEN 'write'
                WHEN r.rank = 0 AND r.person IS NOT DISTINCT FROM i.person THEN 'update'
                WHEN r.rank = 1 AND r.owner = p_owner AND r.until <> 0 THEN 'release'
                ELSE 'stays'
            END AS fate
        FROM unnest(p_apps, p_clouds, p_persons, p_ranks, p_bodies, p_accepted, p_endpoints, p_items)
            WITH ORDINALITY AS i (app, cloud, person, rank, body, accepted, endpoint, item, n)
        JOIN cloudidq_records AS r ON r.app = i.app AND r.cloud = i.cloud
        LEFT JOIN cloudidq_persons AS e
            ON e.app = i.app AND e.person = i.person AND e.erased_at >= i.accepted AND e.expires_at > clock
    ), written AS (
        UPDATE cloudidq_records AS r
        SET person = there.person, rank = there.rank, body = there.body, expires_at = clock + p_ttl,
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
-- Erases the records of one person, under all hashes that stand for them, the first being that of new records. It returns how
-- many records there were, and the moment in Unix microseconds.
CREATE FUNCTION cloudidq_erase(
    p_locks bigint[], p_app bytea, p_persons bytea[], p_ttl interval, p_known interval
) RETURNS TABLE (o_erased bigint, o_moment bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    clock timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(k) FROM unnest(p_locks) AS k; -- see cloudidq_claim
    clock := clock_timestamp();
    o_moment := cloudidq_micros(clock);
    -- Whom a sealed store has never known otherwise leaves no hash without a key.
    INSERT INTO cloudidq_persons AS e (app, person, erased_at, expires_at)
    SELECT p_app, i.person, o_moment / 1000, clock + p_known
    FROM unnest(p_persons) WITH ORDINALITY AS i (person, n)
    WHERE i.n = 1
        OR EXISTS (SELECT FROM cloudidq_records AS r WHERE r.app = p_app AND r.person = i.person)
        OR EXISTS (SELECT FROM cloudidq_persons AS k WHERE k.app = p_app AND k.person = i.person)
    ON CONFLICT (person, app) DO UPDATE
        SET erased_at = greatest(e.erased_at, excluded.erased_at), expires_at = excluded.expires_at;

    DELETE FROM cloudidq_outbox AS o WHERE o.app = p_app AND o.person = ANY (p_persons);
    PERFORM FROM cloudidq_records AS r WHERE r.app = p_app AND r.person = ANY (p_persons) ORDER BY r.cloud FOR UPDATE;
    DELETE FROM cloudidq_records AS r WHERE r.app = p_app AND r.person = ANY (p_persons) AND r.expires_at <= clock;
    UPDATE cloudidq_records AS r
    SET person = NULL, rank = 3, owner = '', until = 0, body = '', expires_at = clock + p_ttl
    WHERE r.app = p_app AND r.person = ANY (p_persons);
    GET DIAGNOSTICS o_erased = ROW_COUNT;
    RETURN NEXT;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- As the former version calls it.
CREATE OR REPLACE FUNCTION cloudidq_erase(
    p_lock bigint, p_app bytea, p_person bytea, p_now bigint, p_ttl interval, p_known interval
) RETURNS bigint
LANGUAGE sql
AS $$ SELECT c.o_erased FROM cloudidq_erase(ARRAY[p_lock], p_app, ARRAY[p_person], p_ttl, p_known) AS c $$;
-- +goose StatementEnd
