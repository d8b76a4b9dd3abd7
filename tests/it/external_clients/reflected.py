"""Clients built from a server's reflection. They count which methods were called."""

import os
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

LIMIT = 120.0  # Timeout of a call and of a wait, in seconds.
PAUSE = 0.1  # Between two polls, in seconds.

# It was called to find the others.
REFLECTION = "grpc.reflection."

# How a channel calls a method that streams its requests, its responses.
KINDS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}


class Server:
    """A server, and all that it says of itself."""

    def __init__(self, variable):
        self.channel = grpc.insecure_channel(os.environ[variable])
        database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(database)
        names = [name for name in database.get_services() if not name.startswith(REFLECTION)]
        self.services = {name: Service(self, self.pool.FindServiceByName(name)) for name in names}

    def message(self, name):
        """The class of a message, by its full name."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def not_called(self):
        return sorted(name for service in self.services.values() for name in service.not_called())


class Service:
    """A service: its methods are those that reflection shows."""

    def __init__(self, server, descriptor):
        self._methods = {method.name: Method(server, method) for method in descriptor.methods}

    def __getattr__(self, name):
        try:
            return self._methods[name]
        except KeyError:
            raise AttributeError(f"reflection shows no method {name}") from None

    def not_called(self):
        return [method.full_name for method in self._methods.values() if not method.called]


class Method:
    """A method: takes the fields of its request (several requests if it streams them)."""

    def __init__(self, server, descriptor):
        self.full_name = descriptor.full_name
        self.called = False
        self._server = server
        self._request = message_factory.GetMessageClass(descriptor.input_type)
        self._streams_requests = descriptor.client_streaming
        kind = KINDS[descriptor.client_streaming, descriptor.server_streaming]
        self._call = getattr(server.channel, kind)(
            f"/{descriptor.containing_service.full_name}/{descriptor.name}",
            request_serializer=self._request.SerializeToString,
            response_deserializer=message_factory.GetMessageClass(descriptor.output_type).FromString,
        )

    def __call__(self, *requests, **fields):
        if self._streams_requests:
            request = iter([self._request(**fields) for fields in requests])
        else:
            request = self._request(**fields)
        self.called = True
        token = os.environ["FOLLOWGRAPH_TOKEN"]
        return self._call(request, timeout=LIMIT, metadata=[("authorization", f"Bearer {token}")])

    def refused(self, **fields):
        """Makes a call that must fail; answers its code, its reason, and the fields at fault."""
        try:
            answer = self(**fields)
        except grpc.RpcError as error:
            return self._why(error)
        raise AssertionError(f"{self.full_name} took {fields}: {answer}")

    def _why(self, error):
        metadata = dict(error.trailing_metadata())
        status = self._server.message("google.rpc.Status").FromString(metadata["grpc-status-details-bin"])
        expect("the code in the details", status.code, error.code().value[0])
        reason, at_fault = None, []
        for packed in status.details:
            name = packed.type_url.rpartition("/")[2]
            detail = self._server.message(name).FromString(packed.value)
            if name == "google.rpc.ErrorInfo":
                reason = detail.reason
            elif name == "google.rpc.BadRequest":
                at_fault = [violation.field for violation in detail.field_violations]
        return error.code().name, reason, at_fault


def expect(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, expected {wanted!r}")


def until(what, ask):
    """Asks again until the answer is true."""
    deadline = time.monotonic() + LIMIT
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(PAUSE)
    return answer


def name_of(message, field):
    """The name of an enum's value."""
    value = getattr(message, field)
    return message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number[value].name
