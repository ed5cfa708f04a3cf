"""What the deploy proof needs beside `sam deploy`: parameters, routes, and where everything is."""

import json
import os
import sys
import time
import urllib.request

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
SANDBOX = os.environ["SANDBOX_URL"]
STACK = "switchyard-dev"


def client(service):
    import boto3

    return boto3.client(service, endpoint_url=ENDPOINT, region_name="us-east-1")


def sandbox_settings():
    with urllib.request.urlopen(f"{SANDBOX}/_sandbox/settings") as reply:
        return json.load(reply)


def wait():
    """Waits until the emulator and the sandbox answer."""
    deadline = time.time() + 60
    for url in (f"{ENDPOINT}/_ministack/health", f"{SANDBOX}/_sandbox/health"):
        while True:
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                if time.time() > deadline:
                    sys.exit(f"{url} does not answer")
                time.sleep(0.2)


def parameters():
    """The template's parameters, pointed at the sandbox."""
    settings = sandbox_settings()
    companies = ",".join(f"testco{number}" for number in range(200))
    chosen = {
        "Architecture": "arm64" if os.uname().machine in ("aarch64", "arm64") else "x86_64",
        "AlisApiBase": settings["ALIS_API_BASE"],
        "AlisTestUsername": settings["ALIS_TEST_USERNAME"],
        "AlisTestPassword": settings["ALIS_TEST_PASSWORD"],
        "AlisSandboxCompanies": f"appstoresandbox,{companies}",
        "CaspioTokenUrl": settings["CASPIO_TOKEN_URL"],
        "CaspioTableEndpoint": settings["CASPIO_TABLE_ENDPOINT"],
        "CaspioClientId": settings["CASPIO_CLIENT_ID"],
        "CaspioClientSecret": settings["CASPIO_CLIENT_SECRET"],
        "IpAllowlist": "127.0.0.1/32",
        # The suite acts for many organisations; that keys are asked for is proved elsewhere.
        "AuthMode": "open",
    }
    print(" ".join(f"{name}={value}" for name, value in chosen.items()))


def resources():
    pages = client("cloudformation").describe_stack_resources(StackName=STACK)
    return {found["LogicalResourceId"]: found["PhysicalResourceId"] for found in pages["StackResources"]}


def routes():
    """Adds the HttpApi events' routes: ministack 1.5.33 does not read the OpenAPI body that SAM makes of them."""
    from samtranslator.yaml_helper import yaml_parse

    with open("template.yaml", encoding="utf-8") as file:
        template = yaml_parse(file.read())
    physical = resources()
    gateway = client("apigatewayv2")
    api = physical["HttpApi"]
    known = {route["RouteKey"] for route in gateway.get_routes(ApiId=api)["Items"]}
    account = "000000000000"
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        events = [event["Properties"] for event in resource["Properties"]["Events"].values() if event["Type"] == "HttpApi"]
        if not events:
            continue
        arn = f"arn:aws:lambda:us-east-1:{account}:function:{physical[name]}"
        integration = gateway.create_integration(
            ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
        )["IntegrationId"]
        for event in events:
            key = f"{event['Method'].upper()} {event['Path']}"
            if key not in known:
                gateway.create_route(ApiId=api, RouteKey=key, Target=f"integrations/{integration}")


def environment():
    """What the suite reads to find the deployed stack."""
    physical = resources()
    settings = sandbox_settings()
    # The samples in events/ present the sandbox's demo credentials.
    secret = {name: settings[name] for name in ("WEBHOOK_BASIC_USER", "WEBHOOK_BASIC_PASS")}
    secrets = client("secretsmanager")
    secrets.put_secret_value(SecretId=physical["AdtWebhookSecret"], SecretString=json.dumps(secret))
    port = ENDPOINT.rsplit(":", 1)[1]
    found = {
        "API_URL": f"http://{physical['HttpApi']}.execute-api.localhost:{port}",
        "ADT_TABLE": physical["AdtTable"],
        "ADT_QUEUE_URL": physical["AdtQueue"],
        "ADMIN_SECRET": physical["AdminSecret"],
        "FUNCTION_PREFIX": f"{STACK}-",
        "WEBHOOK_BASIC_USER": secret["WEBHOOK_BASIC_USER"],
        "WEBHOOK_BASIC_PASS": secret["WEBHOOK_BASIC_PASS"],
    }
    for name, value in found.items():
        print(f"{name}='{value}'")


if __name__ == "__main__":
    {"wait": wait, "parameters": parameters, "routes": routes, "environment": environment}[sys.argv[1]]()
