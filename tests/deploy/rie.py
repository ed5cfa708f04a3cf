"""Runs every sample event of every function under AWS's runtime interface emulator, which needs no Docker."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import boto3
import samcli

# What each case must answer: a status, or the ids of the records reported as failed.
EXPECTED = {
    "adt-webhook/forged-forwarded-for": 403,
    "adt-webhook/health": 200,
    "adt-webhook/health-deps": 200,
    "adt-webhook/ignored": (200, 202),
    "adt-webhook/invalid-payload": 400,
    "adt-webhook/malformed-json": 400,
    "adt-webhook/method-not-allowed": 405,
    "adt-webhook/queued": (200, 202),
    "adt-webhook/queued-base64": (200, 202),
    "adt-webhook/test-event": (200, 202),
    "adt-webhook/unauthorized": 401,
    "adt-consumer/empty-batch": [],
    "adt-consumer/malformed-record": ["m2"],
    "adt-consumer/unknown-event": ["m1"],
    "callback-consumer/empty-batch": [],
    "callback-consumer/event-without-endpoints": [],
    "callback-consumer/malformed-record": ["m2"],
    "callback-consumer/unknown-delivery": [],
    "events-api/batch-unknown-key": 401,
    "events-api/missing-key": 401,
    "events-api/unknown-key": 401,
    "marketplace-api/event-unknown": 404,
    "marketplace-api/health": 200,
    "marketplace-api/import-unknown-store": 404,
    "marketplace-api/inbound-etsy-forged": 401,
    "marketplace-api/inbound-shopify-forged": 401,
    "marketplace-api/list-webhooks": 200,
    "marketplace-api/malformed-json": 400,
    "marketplace-api/mock-rate-limited": 429,
    "marketplace-api/mock-success": 200,
    "marketplace-api/mock-unauthorized": 401,
    "marketplace-api/orders-unknown-store": 404,
    "marketplace-api/register-invalid": 400,
    "marketplace-api/register-store": 200,
    "marketplace-api/register-webhook": 200,
    "marketplace-api/register-webhook-invalid": 400,
    "marketplace-api/retry-unknown-store": 404,
    "marketplace-api/sync-status-unknown-store": 404,
    "marketplace-api/unsupported-media-type": 415,
    "order-consumer/empty-batch": [],
    "order-consumer/malformed-record": ["m2"],
    "order-consumer/unknown-store": [],
    "notify-consumer/empty-batch": [],
    "notify-consumer/malformed-record": [],
    "notify-consumer/unknown-delivery": [],
    "ops-api/unauthorized": 401,
    "adt-sweep/scheduled": None,
    "callbacks-sweep/scheduled": None,
    "orders-sweep/scheduled": None,
    "signals-sweep/scheduled": None,
    "rules-consumer/empty-batch": [],
    "rules-consumer/malformed-record": [],
    "rules-consumer/unknown-event": [],
}


def folders():
    """The folder that each function's CodeUri names, by the function's name without its stack's."""
    from samtranslator.yaml_helper import yaml_parse

    template = yaml_parse(pathlib.Path("template.yaml").read_text(encoding="utf-8"))
    functions = [found["Properties"] for found in template["Resources"].values() if found["Type"] == "AWS::Serverless::Function"]
    return {found["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-"): found["CodeUri"] for found in functions}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def holds(expected, answer):
    if isinstance(expected, list):
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == expected
    if expected is None:
        return "errorMessage" not in answer
    return answer.get("statusCode") in (expected if isinstance(expected, tuple) else (expected,))


def invoke(url, event):
    deadline = time.time() + 20
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data=event), timeout=30) as reply:
                return json.load(reply)
        except urllib.error.URLError:
            if time.time() > deadline:
                raise
            time.sleep(0.05)


def main():
    machine = "arm64" if os.uname().machine in ("aarch64", "arm64") else "x86_64"
    emulator = pathlib.Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"
    emulator.chmod(0o755)
    functions = boto3.client("lambda", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    code = folders()
    passed = failed = 0
    cases = sorted(pathlib.Path("events").glob("*-*/*.json"))
    seen = {f"{case.parent.name}/{case.stem}" for case in cases}
    if seen != set(EXPECTED):
        sys.exit(f"sample events and expectations differ: {sorted(seen ^ set(EXPECTED))}")
    for folder in sorted({case.parent for case in cases}):
        name = folder.name
        settings = functions.get_function_configuration(FunctionName=f"{os.environ['FUNCTION_PREFIX']}{name}")
        environment = dict(os.environ, **settings["Environment"]["Variables"])
        environment.update(AWS_LAMBDA_FUNCTION_NAME=name, AWS_LAMBDA_FUNCTION_TIMEOUT=str(settings["Timeout"]))
        # The samples present the sandbox's demo credentials; the emulator's clock is not the gateway's.
        address = f"127.0.0.1:{free_port()}"
        runtime = f"127.0.0.1:{free_port()}"
        process = subprocess.Popen(
            [emulator, "--runtime-interface-emulator-address", address, "--runtime-api-address", runtime,
             str(pathlib.Path(code[name], "bootstrap").resolve())],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            for case in sorted(folder.glob("*.json")):
                answer = invoke(f"http://{address}/2015-03-31/functions/function/invocations", case.read_bytes())
                ok = holds(EXPECTED[f"{name}/{case.stem}"], answer or {})
                passed, failed = passed + ok, failed + (not ok)
                print(f"{'ok  ' if ok else 'FAIL'} {name}/{case.stem}{'' if ok else f': {answer}'}")
        finally:
            process.terminate()
            process.wait()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
