"""ML Metadata over gRPC, as Kubeflow serves it: a server on the library's own store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def serving_metadata(file: Path) -> Iterator[str]:
    """The address of a server whose records lie in a SQLite file."""
    import grpc
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store as library
    from ml_metadata.proto import metadata_store_pb2, metadata_store_service_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    connection.sqlite.connection_mode = 3
    store, lock = metadata_store.MetadataStore(connection), threading.Lock()
    codes = {code.value[0]: code for code in grpc.StatusCode}

    def handler(function: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            with lock:
                response, message, code = function(store._metadata_store, request)
            if code:
                context.abort(codes[code], message.decode())
            return bytes(response)

        return grpc.unary_unary_rpc_method_handler(answer)

    service = metadata_store_service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]
    functions = {method.name: getattr(library, method.name, None) for method in service.methods}
    handlers = {name: handler(function) for name, function in functions.items() if function is not None}
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
