"""Real clients of the department's Flight SQL: ADBC's driver with pyarrow, pandas and polars, and pyarrow's own client.

Called as `flight.py CHECK`, with the node in CIVICMESH_URI (grpc://HOST:PORT) and its token in CIVICMESH_TOKEN.
Each check asserts, and ends with nothing said.
"""

import concurrent.futures
import datetime
import decimal
import json
import os
import sys
import threading
import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import pandas
import polars
import pyarrow
import pyarrow.flight

URI = os.environ["CIVICMESH_URI"]
TOKEN = os.environ["CIVICMESH_TOKEN"]
HEADER = adbc_driver_flightsql.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
BY_DISTRICT = "SELECT district, sum(bikes) AS bikes FROM bikes.counts GROUP BY district ORDER BY bikes DESC"
BIKES = {"old_town": 6773, "harbour": 4257, "hill": 2055}
# how long what must come true may take on a loaded machine, in seconds
PATIENCE = 90
ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT count(*) FROM r"


def connect(token=TOKEN, **headers):
    options = {"adbc.flight.sql.authorization_header": f"Bearer {token}"}
    options |= {HEADER + name.replace("_", "-"): value for name, value in headers.items()}
    return flight_sql.connect(URI, db_kwargs=options, autocommit=True)


def ask(sql, parameters=None, **headers):
    with connect(**headers) as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetch_arrow_table()


def refusal(sql, parameters=None, **headers):
    try:
        rows = ask(sql, parameters, **headers)
    except flight_sql.Error as error:
        return error
    raise AssertionError(f"not refused: {sql}: {rows}")


def rows():
    table = ask(BY_DISTRICT)
    assert {row["district"]: int(row["bikes"]) for row in table.to_pylist()} == BIKES, table
    with connect() as connection:
        frame = pandas.read_sql(BY_DISTRICT, connection)
        assert list(frame["district"]) == list(BIKES), frame
        frame = polars.read_database(BY_DISTRICT, connection)
        assert frame["bikes"].cast(polars.Int64).to_list() == list(BIKES.values()), frame
        with connection.cursor() as cursor:
            cursor.execute("SELECT avg(no2) AS no2, count(*) AS n FROM air.readings WHERE district = 'hill'")
            no2, _ = cursor.fetchone()
            assert abs(no2 - 17.6) < 5e-5, no2
            # no rows still have columns, and say how complete they are
            cursor.execute("SELECT district FROM air.readings WHERE district = 'nowhere' GROUP BY 1")
            table = cursor.fetch_arrow_table()
            assert table.num_rows == 0 and b"civicmesh.completeness" in table.schema.metadata


def explained():
    (read,) = [row for row in ask("EXPLAIN " + BY_DISTRICT).to_pylist() if row["plan_type"] == "releases"]
    assert (read["product"], read["owner"], read["method"]) == ("bikes.counts", "bikes", "threshold, k = 10"), read
    assert read["releases"] > 0 and read["releases_revised"] == 0 and read["bytes"] > 100, read


def login():
    """A name and the token as password, as tools offer them."""
    with flight_sql.connect(URI, db_kwargs={"username": "anyone", "password": TOKEN}, autocommit=True) as connection:
        with connection.cursor() as cursor:
            cursor.execute(BY_DISTRICT)
            assert len(cursor.fetchall()) == 3
    header, value = pyarrow.flight.connect(URI).authenticate_basic_token("anyone", TOKEN)
    assert (header, value) == (b"authorization", f"Bearer {TOKEN}".encode()), header


def wrong_token():
    for token in ["wrong", os.environ["CIVICMESH_OTHER_TOKEN"]]:
        try:
            with connect(token) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except flight_sql.Error as error:
            assert error.status_code == adbc_driver_manager.AdbcStatusCode.UNAUTHENTICATED, error.status_code
            assert "token" in str(error), error
        else:
            raise AssertionError("let in with a wrong token")
        login = {"username": "anyone", "password": token}
        assert "token" in ends(lambda: flight_sql.connect(URI, db_kwargs=login, autocommit=True))


def parameters():
    day = datetime.date(2024, 6, 4)
    since = "SELECT count(*) AS n FROM air.readings WHERE time >= {} AND district = {}"
    expected = ask(since.format("'2024-06-04'", "'hill'")).to_pylist()
    for moment in ["2024-06-04", day, datetime.datetime(2024, 6, 4), pyarrow.scalar(day)]:
        moment = moment.as_py() if isinstance(moment, pyarrow.Scalar) else moment
        for text in [since.format("?", "?"), since.format("$1", "$2")]:
            assert ask(text, (moment, "hill")).to_pylist() == expected, (moment, text)
    for value, sql in [
        (7, "SELECT 1 + ? AS x"),
        (2.5, "SELECT ? * 2 AS x"),
        (decimal.Decimal("1.25"), "SELECT CAST(? AS DECIMAL(5, 2)) AS x"),
        ("a ? 'b'", "SELECT '?' || ? AS x"),
        (True, "SELECT NOT ? AS x"),
    ]:
        assert ask(sql, (value,)).num_rows == 1, sql
    assert ask("SELECT district FROM air.readings GROUP BY 1 ORDER BY 1 LIMIT ?", (1,)).num_rows == 1
    with connect() as connection, connection.cursor() as cursor:
        types = cursor.adbc_prepare("SELECT count(*) FROM air.readings WHERE district = ? AND time < ?")
        assert [field.type for field in types][0] in (pyarrow.string(), pyarrow.string_view()), types
        assert len(types) == 2, types
        sql = "SELECT sum(bikes) FROM bikes.counts WHERE district = ?"
        for district, bikes in BIKES.items():
            cursor.execute(sql, (district,))
            assert int(cursor.fetchone()[0]) == bikes
    assert "$2" in str(refusal("SELECT ? + ?", (1,))), refusal("SELECT ? + ?", (1,))
    with connect() as connection, connection.cursor() as cursor:
        assert "one row of parameters" in ends(lambda: cursor.executemany("SELECT ? AS x", [(1,), (2,)]))


def catalogue():
    with connect() as connection:
        assert connection.adbc_current_catalog == "Aarhus"
        assert connection.adbc_current_db_schema == "air"
        assert connection.adbc_get_table_types() == ["TABLE"]
        objects = connection.adbc_get_objects().read_all().to_pylist()
        assert [catalog["catalog_name"] for catalog in objects] == ["Aarhus"], objects
        schemas = {schema["db_schema_name"]: schema for schema in objects[0]["catalog_db_schemas"]}
        assert {"air", "bikes"} <= schemas.keys(), schemas
        tables = schemas["bikes"]["db_schema_tables"]
        assert [(table["table_name"], table["table_type"]) for table in tables] == [("counts", "TABLE")], tables
        assert connection.adbc_get_objects(depth="all").read_all().to_pylist() == objects
        columns = [column["column_name"] for column in tables[0]["table_columns"]]
        assert columns == ["time", "district", "bikes"], columns
        some = connection.adbc_get_objects(db_schema_filter="b%", table_name_filter="count_").read_all().to_pylist()
        assert [schema["db_schema_name"] for schema in some[0]["catalog_db_schemas"]] == ["bikes"], some
        schema = connection.adbc_get_table_schema("counts", db_schema_filter="bikes")
        assert schema.field("time").type == pyarrow.timestamp("us", "Europe/Copenhagen"), schema
        assert schema.field("time").metadata[b"civicmesh.role"] == b"time"
        assert schema.field("district").metadata[b"civicmesh.role"] == b"dimension"
        bikes = schema.field("bikes").metadata
        assert (bikes[b"civicmesh.role"], bikes[b"civicmesh.unit"]) == (b"measure", b"bicycles"), bikes
        assert schema.metadata[b"civicmesh.method"] == b"threshold k=10", schema.metadata
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "civicmesh" and info["vendor_arrow_version"], info
        with connection.cursor() as cursor:
            schema = cursor.adbc_execute_schema(BY_DISTRICT)
            cursor.execute(BY_DISTRICT)
            assert schema.equals(cursor.fetch_arrow_table().schema), schema
    # what asks for keys gets none, and the right columns
    for command in ["CommandGetPrimaryKeys", "CommandGetExportedKeys", "CommandGetImportedKeys"]:
        assert listed(command, table="counts").num_rows == 0, command


def completeness():
    table = ask(BY_DISTRICT)
    told = json.loads(table.schema.metadata[b"civicmesh.completeness"])
    (product,) = told["products"]
    assert (product["product"], product["exact"], product["cells_suppressed"]) == ("bikes.counts", False, 48), product
    assert told["notices"] == [], told
    assert table.schema.field("bikes").metadata[b"civicmesh.lacks"] == b"bikes.counts", table.schema
    whole = ask("SELECT avg(no2) AS no2 FROM air.readings")
    assert json.loads(whole.schema.metadata[b"civicmesh.completeness"])["products"][0]["exact"]
    refused = refusal(BY_DISTRICT, civicmesh_require_complete="on")
    assert "bikes.counts: 48 of" in str(refused), refused
    assert ask("SHOW civicmesh.require_complete", civicmesh_require_complete="on").to_pylist() == [
        {"require_complete": "on"}
    ]
    assert "civicmesh-require-complete" in str(refusal("SET civicmesh.require_complete = on"))
    assert "window_cut" in str(refusal("SELECT 1", civicmesh_window_cut="ignore"))
    last_message()


def last_message():
    """The same as protobuf in the last message, and one schema from GetFlightInfo to the stream."""
    client, options = plain()
    info = client.get_flight_info(described("CommandStatementQuery", query=BY_DISTRICT), options)
    reader = client.do_get(info.endpoints[0].ticket, options)
    assert reader.schema.equals(info.schema, check_metadata=True), (reader.schema, info.schema)
    told, rows = None, 0
    for chunk in reader:
        told = chunk.app_metadata.to_pybytes() if chunk.app_metadata else None
        rows += chunk.data.num_rows if chunk.data else 0
    assert rows == info.total_records == 3, rows
    assert told is not None and b"bikes.counts" in told, told
    assert "ask again" in ends(lambda: list(client.do_get(info.endpoints[0].ticket, options)))


def refusals():
    for sql, said in [
        ("SELECT max(bikes) FROM bikes.counts", "instead"),
        ("SELECT * FROM bikes.counts", "raw rows"),
        ("SELECT count(*) FROM bikes.trips", "bikes.counts"),
        ("DROP TABLE bikes.counts", "read"),
        ("SELECT ((", ""),
    ]:
        error = refusal(sql)
        assert said in str(error), (sql, error)
        assert error.status_code != adbc_driver_manager.AdbcStatusCode.UNKNOWN, (sql, error.status_code)
    with connect() as connection, connection.cursor() as cursor:
        assert "reads" in ends(lambda: cursor.adbc_ingest("counts", pyarrow.table({"bikes": [1]})))


def many():
    """Two hundred connections at once: each is answered, or told in a word that the node is busy."""
    clients, questions = 200, 4
    together = threading.Barrier(clients)

    def one(_):
        answered = 0
        with connect() as connection, connection.cursor() as cursor:
            together.wait()
            for _ in range(questions):
                try:
                    cursor.execute(BY_DISTRICT)
                    assert cursor.fetch_arrow_table().num_rows == 3
                    answered += 1
                except flight_sql.Error as error:
                    assert "busy" in str(error), error
        return answered

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answered = sum(pool.map(one, range(clients)))
    print(f"{answered} of {clients * questions} questions of {clients} clients were answered, the others told: busy")
    assert answered >= clients


def cancel():
    """The node answers one question at a time and gives each an hour: the next is answered only if the one before it
    has ended."""
    with connect() as connection, connection.cursor() as cursor:
        running = threading.Thread(target=lambda: ends(lambda: when_free(lambda: cursor.execute(ENDLESS))))
        running.start()
        until_busy()
        cursor.adbc_cancel()
        running.join()
    assert when_free(lambda: ask(BY_DISTRICT)).num_rows == 3

    # a client that hangs up
    client, options = plain(timeout=1.0)
    question = described("CommandStatementQuery", query=ENDLESS)
    ends(lambda: client.get_flight_info(question, options))
    assert when_free(lambda: ask(BY_DISTRICT)).num_rows == 3


def let_go():
    """An answer that is cancelled before it is fetched."""
    client, options = plain()
    info = client.get_flight_info(described("CommandStatementQuery", query=BY_DISTRICT), options)
    request = pyarrow.flight.Action("CancelFlightInfo", field(1, info.serialize()))
    cancelled, not_cancellable = b"\x08\x01", b"\x08\x03"
    for expected in [cancelled, not_cancellable]:
        (result,) = client.do_action(request, options)
        assert result.body.to_pybytes() == expected, result
    assert "ask again" in ends(lambda: list(client.do_get(info.endpoints[0].ticket, options)))
    actions = {action.type for action in client.list_actions(options)}
    assert {"CreatePreparedStatement", "CancelFlightInfo", "CloseSession"} <= actions, actions
    transaction = pyarrow.flight.Action("BeginTransaction", b"")
    assert "not offered" in ends(lambda: list(client.do_action(transaction, options)))


def ends(work):
    """What it says as it ends, which it must with an error."""
    try:
        done = work()
    except (flight_sql.Error, pyarrow.ArrowException, pyarrow.flight.FlightError, NotImplementedError) as error:
        return str(error)
    raise AssertionError(f"it ended well: {done}")


def when_free(work):
    """Does it once the node is not busy with another question."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except flight_sql.Error as error:
            if "busy" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def until_busy():
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            ask("SELECT 1")
        except flight_sql.Error as error:
            assert "busy" in str(error), error
            return
    raise AssertionError("the question never began")


def plain(timeout=None):
    """pyarrow's own client, which knows Flight and no SQL."""
    headers = [(b"authorization", f"Bearer {TOKEN}".encode())]
    return pyarrow.flight.connect(URI), pyarrow.flight.FlightCallOptions(timeout=timeout, headers=headers)


def described(command, query=None, table=None):
    """A command of Flight SQL, written by hand: a `google.protobuf.Any` of one or two text fields."""
    body = b""
    if query is not None:
        body += field(1, query.encode())
    if table is not None:
        body += field(3, table.encode())
    name = f"type.googleapis.com/arrow.flight.protocol.sql.{command}"
    return pyarrow.flight.FlightDescriptor.for_command(field(1, name.encode()) + field(2, body))


def field(number, content):
    length, size = b"", len(content)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def listed(command, **fields):
    client, options = plain()
    info = client.get_flight_info(described(command, **fields), options)
    table = client.do_get(info.endpoints[0].ticket, options).read_all()
    assert table.schema.equals(info.schema, check_metadata=True)
    return table


if __name__ == "__main__":
    globals()[sys.argv[1]]()
