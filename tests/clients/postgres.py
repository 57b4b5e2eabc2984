"""Real clients of the department's PostgreSQL port: psycopg 3, asyncpg, SQLAlchemy over psycopg2, ADBC's driver.

Called as `postgres.py CHECK`, with the node in CIVICMESH_HOST and CIVICMESH_PORT and its tokens in CIVICMESH_TOKEN (for
questions) and CIVICMESH_OTHER_TOKEN. Each check asserts, and ends with nothing said.
"""

import asyncio
import concurrent.futures
import datetime
import decimal
import os
import socket
import struct
import sys
import threading
import time
import warnings

import adbc_driver_postgresql.dbapi
import asyncpg
import psycopg
import psycopg.rows
import pyarrow
import sqlalchemy

HOST, PORT = os.environ["CIVICMESH_HOST"], int(os.environ["CIVICMESH_PORT"])
TOKEN = os.environ["CIVICMESH_TOKEN"]
BY_DISTRICT = "SELECT district, sum(bikes) AS bikes FROM bikes.counts GROUP BY district ORDER BY bikes DESC"
BIKES = {"old_town": 6773, "harbour": 4257, "hill": 2055}
BY_HOUR = (
    "SELECT date_trunc('hour', time) AS time, count(*) AS n, avg(no2) AS no2 FROM air.readings "
    "WHERE district = 'hill' GROUP BY 1 ORDER BY 1"
)
ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT count(*) FROM r"
FIRST_HOUR = datetime.datetime(2024, 6, 2, 22, tzinfo=datetime.timezone.utc)


def connect(password=TOKEN, **more):
    options = {"host": HOST, "port": PORT, "user": "anyone", "dbname": "Aarhus", "autocommit": True} | more
    return psycopg.connect(password=password, **options)


def refused(ask, state):
    try:
        answer = ask()
    except psycopg.Error as error:
        assert error.sqlstate == state, (error.sqlstate, error)
        return error
    raise AssertionError(f"not refused: {answer}")


def rows():
    with connect() as connection:
        for binary in [False, True]:
            with connection.cursor(binary=binary) as cursor:
                found = dict(cursor.execute(BY_DISTRICT).fetchall())
                assert found == {name: decimal.Decimal(bikes) for name, bikes in BIKES.items()}, found
                assert [column.type_code for column in cursor.description] == [25, 1700]
                hour, n, no2 = cursor.execute(BY_HOUR).fetchone()
                assert [column.type_code for column in cursor.description] == [1184, 20, 701]
                assert (hour, type(n), type(no2)) == (FIRST_HOUR, int, float), (hour, n, no2)
                assert hour.utcoffset() == datetime.timedelta(hours=2), "the city's clocks"
                day, truth, nothing = cursor.execute("SELECT DATE '2024-06-03', 1 < 2, NULL").fetchone()
                assert (day, truth, nothing) == (datetime.date(2024, 6, 3), True, None)
        # without a domain a product is of the node's own, or of the search path's first
        assert connection.execute("SELECT count(*) > 0 FROM readings").fetchone()[0]
        connection.execute("SET search_path TO bikes, public")
        assert connection.execute("SELECT sum(bikes) FROM counts").fetchone()[0] == sum(BIKES.values())
        assert connection.execute("SELECT current_schema()").fetchone()[0] == "bikes"


def explained():
    with connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        told = cursor.execute("EXPLAIN " + BY_DISTRICT).fetchall()
        (read,) = [row for row in told if row["plan_type"] == "releases"]
        assert (read["product"], read["owner"], read["method"]) == ("bikes.counts", "bikes", "threshold, k = 10"), read
        assert read["windows_from"] == FIRST_HOUR, read
        assert read["releases"] > 0 and read["releases_revised"] == 0 and read["bytes"] > 100, read
        refused(lambda: connection.execute("EXPLAIN SELECT max(bikes) FROM bikes.counts"), "0A000")


def parameters():
    since = "SELECT count(*) FROM air.readings WHERE time >= %s AND district = %s"
    with connect() as connection:
        (expected,) = connection.execute("SELECT count(*) FROM air.readings WHERE time >= '2024-06-04' AND district = 'hill'").fetchone()
        for moment in ["2024-06-04", datetime.date(2024, 6, 4), datetime.datetime(2024, 6, 3, 22, tzinfo=datetime.timezone.utc)]:
            for options in [{}, {"binary": True}, {"prepare": True}]:
                assert connection.execute(since, (moment, "hill"), **options).fetchone() == (expected,), (moment, options)
        found = connection.execute("SELECT %s + 1, CAST(%s AS TEXT), %s", (41, "a 'b'", 2.5)).fetchone()
        assert found == (42, "a 'b'", 2.5), found
        assert len(connection.execute("SELECT district FROM air.readings GROUP BY 1 ORDER BY 1 LIMIT %s", (1,)).fetchall()) == 1
        with connection.pipeline(), connection.cursor() as cursor:
            for number in range(50):
                cursor.execute("SELECT %s + 0", (number,))
        error = refused(lambda: connection.execute("SELECT count(*) FROM air.readings WHERE time >= %s", ("2024-06-04 00:30",)), "0A000")
        assert error.diag.message_hint, error
        assert connection.execute("SELECT 1").fetchone() == (1,)


def notices():
    heard = []
    with connect() as connection:
        connection.add_notice_handler(lambda notice: heard.append((notice.sqlstate, notice.message_primary)))
        connection.execute(BY_DISTRICT)
        assert len(heard) == 1 and heard[0][0] == "01000" and "bikes.counts: 48 of" in heard[0][1], heard
        connection.execute("SELECT avg(no2) FROM air.readings")
        assert len(heard) == 1, heard
        connection.execute("SET client_min_messages TO warning")
        connection.execute(BY_DISTRICT)
        assert len(heard) == 1, heard
        connection.execute("SET civicmesh.require_complete = on")
        assert connection.execute("SHOW civicmesh.require_complete").fetchone() == ("on",)
        assert "48 of" in str(refused(lambda: connection.execute(BY_DISTRICT), "55000"))
        connection.execute("RESET civicmesh.require_complete")
        connection.execute(BY_DISTRICT)
    with connect(options="-c civicmesh.require_complete=on") as connection:
        refused(lambda: connection.execute(BY_DISTRICT), "55000")


def refusals():
    with connect() as connection:
        for sql, state, said in [
            ("SELECT max(bikes) FROM bikes.counts", "0A000", ""),
            ("SELECT * FROM bikes.counts", "0A000", "raw rows"),
            ("SELECT count(*) FROM bikes.trips", "42P01", "bikes.counts"),
            ("SELECT color FROM bikes.counts GROUP BY color", "42703", "color"),
            ("DROP TABLE bikes.counts", "25006", ""),
            ("COPY bikes.counts FROM STDIN", "25006", ""),
            ("COPY (SELECT 1) TO '/tmp/civicmesh-was-here'", "25006", ""),
            ("SELECT ((", "42601", ""),
            ("SHOW no_such_thing", "22023", ""),
            ("LISTEN_NOT", "42601", ""),
        ]:
            for options in [{}, {"prepare": True}]:
                error = refused(lambda: connection.execute(sql, **options), state)
                assert said in str(error), (sql, error)
    assert not os.path.exists("/tmp/civicmesh-was-here")
    for password in ["wrong", os.environ["CIVICMESH_OTHER_TOKEN"], ""]:
        try:
            connect(password)
        except psycopg.OperationalError as error:
            assert "token" in str(error) or "password" in str(error), error
        else:
            raise AssertionError("let in with a wrong password")


def transactions():
    with connect(autocommit=False) as connection:
        connection.execute("SELECT 1")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        refused(lambda: connection.execute("SELECT nothing"), "42703")
        refused(lambda: connection.execute("SELECT 1"), "25P02")
        connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.commit()
        with connection.transaction():
            connection.execute("SELECT 1")
        found = [result.fetchall() for result in connection.execute("SELECT 1; SELECT 2; COMMIT").results() if result.description]
        assert found == [[(1,)], [(2,)]], found


def cursors():
    with connect(autocommit=False) as connection:
        for binary in [False, True]:
            with connection.cursor("hours", binary=binary) as cursor:
                cursor.itersize = 10
                cursor.execute(BY_HOUR)
                assert [column.name for column in cursor.description] == ["time", "n", "no2"]
                hours = [row[0] for row in cursor]
                assert len(hours) == 72 and hours[0] == FIRST_HOUR, hours
        connection.execute("DECLARE c CURSOR FOR SELECT 1 AS one")
        assert connection.execute("FETCH ALL FROM c").fetchall() == [(1,)]
        assert connection.execute("FETCH 5 FROM c").fetchall() == []
        connection.execute("CLOSE c")
        refused(lambda: connection.execute("FETCH c"), "34000")


def copies():
    with connect() as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY ({BY_DISTRICT}) TO STDOUT WITH (FORMAT csv, HEADER)") as copy:
            text = b"".join(copy).decode()
        assert text.splitlines() == ["district,bikes", "old_town,6773", "harbour,4257", "hill,2055"], text
        with cursor.copy(f"COPY ({BY_DISTRICT}) TO STDOUT") as copy:
            assert list(copy.rows())[0] == ("old_town", "6773")
        with cursor.copy(f"COPY ({BY_DISTRICT}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["text", "numeric"])
            assert dict(copy.rows()) == {name: decimal.Decimal(bikes) for name, bikes in BIKES.items()}
        with cursor.copy("COPY (SELECT district FROM air.readings WHERE district = 'no' GROUP BY 1) TO STDOUT (FORMAT binary)") as copy:
            assert list(copy.rows()) == []


async def drive():
    options = {"host": HOST, "port": PORT, "user": "anyone", "database": "Aarhus", "password": TOKEN}
    connection = await asyncpg.connect(**options)
    found = {row["district"]: row["bikes"] for row in await connection.fetch(BY_DISTRICT)}
    assert found == {name: decimal.Decimal(bikes) for name, bikes in BIKES.items()}, found
    since = datetime.datetime(2024, 6, 3, 22, tzinfo=datetime.timezone.utc)
    sql = "SELECT count(*) FROM air.readings WHERE time >= $1 AND district = $2 AND district <> $3"
    statement = await connection.prepare(sql)
    assert [kind.name for kind in statement.get_parameters()] == ["timestamptz", "text", "text"], statement.get_parameters()
    (expected,) = await connection.fetchrow("SELECT count(*) FROM air.readings WHERE time >= '2024-06-04' AND district = 'hill'")
    assert await statement.fetchval(since, "hill", "") == expected
    async with connection.transaction():
        # portals with a limit of rows
        hours = [row["time"] async for row in connection.cursor(BY_HOUR, prefetch=7)]
        assert len(hours) == 72 and hours[0] == FIRST_HOUR and hours == sorted(hours), hours
    try:
        await connection.fetch("SELECT * FROM bikes.counts")
    except asyncpg.FeatureNotSupportedError as error:
        assert error.hint, error
    else:
        raise AssertionError("raw rows")
    assert await connection.fetchval("SELECT 1") == 1
    try:
        await connection.fetch(ENDLESS, timeout=1)
    except asyncio.TimeoutError:
        pass
    else:
        raise AssertionError("an endless question ended")
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


def asynchronous():
    asyncio.run(drive())


def alchemy():
    engine = sqlalchemy.create_engine(f"postgresql+psycopg2://anyone:{TOKEN}@{HOST}:{PORT}/Aarhus")
    with engine.connect() as connection:
        found = dict(connection.execute(sqlalchemy.text(BY_DISTRICT)).fetchall())
        assert found == {name: decimal.Decimal(bikes) for name, bikes in BIKES.items()}, found
        inspector = sqlalchemy.inspect(connection)
        assert {"air", "bikes"} <= set(inspector.get_schema_names()), inspector.get_schema_names()
        assert inspector.get_table_names(schema="bikes") == ["counts"], inspector.get_table_names(schema="bikes")
        columns = {column["name"]: column for column in inspector.get_columns("counts", schema="bikes")}
        assert list(columns) == ["time", "district", "bikes"], columns
        assert "unit bicycles" in columns["bikes"]["comment"], columns
        assert columns["time"]["type"].timezone, columns
        assert "threshold k=10" in inspector.get_table_comment("counts", schema="bikes")["text"]
        reflected = sqlalchemy.Table("counts", sqlalchemy.MetaData(), schema="bikes", autoload_with=connection)
        assert [column.name for column in reflected.columns] == ["time", "district", "bikes"], reflected.columns
        assert not list(reflected.primary_key) and not reflected.foreign_keys and not reflected.indexes
        for kind in ["indexes", "unique_constraints", "check_constraints", "foreign_keys", "table_options"]:
            assert not getattr(inspector, f"get_{kind}")("counts", schema="bikes"), kind
        table = sqlalchemy.table("counts", sqlalchemy.column("district"), sqlalchemy.column("bikes"), schema="bikes")
        total = sqlalchemy.select(table.c.district, sqlalchemy.func.sum(table.c.bikes)).group_by(table.c.district)
        assert dict(connection.execute(total.where(table.c.district == "hill")).fetchall()) == {"hill": 2055}
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://anyone:{TOKEN}@{HOST}:{PORT}/Aarhus")
    with engine.connect() as connection:
        assert len(connection.execute(sqlalchemy.text(BY_DISTRICT)).fetchall()) == 3


def adbc():
    uri = f"postgresql://anyone:{TOKEN}@{HOST}:{PORT}/Aarhus"
    with adbc_driver_postgresql.dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(BY_DISTRICT)
        table = cursor.fetch_arrow_table()
        assert {row["district"]: int(row["bikes"]) for row in table.to_pylist()} == BIKES, table
        cursor.execute(BY_HOUR)
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 72, table
        assert table.schema.field("time").type == pyarrow.timestamp("us", "UTC"), table.schema
        assert table.column("time")[0].as_py() == FIRST_HOUR, table
        for depth in ["catalogs", "db_schemas", "tables", "columns", "all"]:
            (city,) = connection.adbc_get_objects(depth=depth, catalog_filter="Aarhus").read_all().to_pylist()
            assert city["catalog_name"] == "Aarhus", city
        schemas = {schema["db_schema_name"]: schema for schema in city["catalog_db_schemas"]}
        (counts,) = schemas["bikes"]["db_schema_tables"]
        assert counts["table_name"] == "counts" and counts["table_constraints"] == [], counts
        columns = {column["ordinal_position"]: column["column_name"] for column in counts["table_columns"]}
        assert columns == {1: "time", 2: "district", 3: "bikes"}, counts
        schema = connection.adbc_get_table_schema("counts", db_schema_filter="bikes")
        assert schema.names == ["time", "district", "bikes"], schema


def encrypted():
    """TLS is offered, and the node shows the city's certificate."""
    with connect(sslmode="require") as connection:
        assert connection.pgconn.ssl_in_use
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with connect(sslmode="disable") as connection:
        assert not connection.pgconn.ssl_in_use


def many():
    """Two hundred connections at once: each is answered, or told in a word that the node is busy."""
    clients, questions = 200, 4
    together = threading.Barrier(clients)

    def one(_):
        answered = 0
        with connect() as connection:
            connection.autocommit = True
            together.wait()
            for _ in range(questions):
                try:
                    assert len(connection.execute(BY_DISTRICT).fetchall()) == 3
                    answered += 1
                except psycopg.Error as error:
                    assert error.sqlstate == "53300", error
        return answered

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answered = sum(pool.map(one, range(clients)))
    print(f"{answered} of {clients * questions} questions of {clients} clients were answered, the others told: busy")
    assert answered >= clients


def bounds():
    """Rude clients lose their connection, and nobody else does."""

    def rude(*pieces):
        with socket.create_connection((HOST, PORT), timeout=60) as line:
            for piece in pieces:
                line.sendall(piece)
            heard = b""
            while piece := line.recv(4096):
                heard += piece
            return heard

    startup = b"user\0anyone\0\0"
    startup = struct.pack("!II", len(startup) + 8, 196608) + startup
    password = TOKEN.encode() + b"\0"
    password = b"p" + struct.pack("!I", len(password) + 4) + password
    assert b"too large" in (heard := rude(startup, password, b"Q" + struct.pack("!I", 1 << 30))) or b"more than" in heard, heard
    assert b"28P01" in rude(startup, b"p" + struct.pack("!I", 6) + b"x\0")
    assert b"08P01" in rude(startup, b"Q" + struct.pack("!I", 13) + b"SELECT 1\0")
    rude(struct.pack("!II", 1 << 30, 196608))
    # an error before the password is the end, and no way in
    wrong = b"user\0anyone\0DateStyle\0German\0\0"
    wrong = struct.pack("!II", len(wrong) + 8, 196608) + wrong
    heard = rude(wrong, b"Q" + struct.pack("!I", 13) + b"SELECT 1\0")
    assert b"22023" in heard and heard.count(b"SELECT 1") == 0, heard
    with connect() as connection:
        for name in range(512):
            connection.pgconn.prepare(f"s{name}".encode(), b"SELECT 1")
        result = connection.pgconn.prepare(b"one more", b"SELECT 1")
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"54000", result.error_message
        # formats that do not fit the answer
        result = connection.pgconn.exec_params(b"SELECT 1, 2", [], result_format=1)
        assert result.status == psycopg.pq.ExecStatus.TUPLES_OK
        assert connection.execute("SELECT 1").fetchone() == (1,)


def cancel():
    """The node answers one question at a time and gives each an hour: the next is answered only if the one before it
    has ended."""

    def asked_when_free(sql):
        deadline = time.monotonic() + 90
        with connect() as connection:
            while True:
                try:
                    return connection.execute(sql).fetchall()
                except psycopg.Error as error:
                    assert error.sqlstate == "53300" and time.monotonic() < deadline, error
                    time.sleep(0.05)

    def wait_until_busy():
        with connect() as connection:
            while True:
                try:
                    connection.execute("SELECT 1")
                except psycopg.Error as error:
                    assert error.sqlstate == "53300", error
                    return

    with connect() as connection:
        ended = []
        running = threading.Thread(target=lambda: ended.append(refused(lambda: connection.execute(ENDLESS), "57014")))
        running.start()
        wait_until_busy()
        connection.cancel()
        running.join()
        assert ended, "an endless question ended"
        assert len(asked_when_free(BY_DISTRICT)) == 3
        assert connection.execute("SELECT 1").fetchone() == (1,), "the connection goes on"
        connection.execute("SET statement_timeout = '200ms'")
        refused(lambda: connection.execute(ENDLESS), "57014")
    assert len(asked_when_free(BY_DISTRICT)) == 3

    # and a client that hangs up
    connection = connect()
    connection.pgconn.send_query(ENDLESS.encode())
    connection.pgconn.flush()
    wait_until_busy()
    connection.pgconn.finish()
    assert len(asked_when_free(BY_DISTRICT)) == 3


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)
    globals()[sys.argv[1]]()
