"""Known headers: the names that the report may show, since they are none of a workspace's words."""

from __future__ import annotations

_USUAL_NAMES = """
    access-control-allow-credentials access-control-allow-headers access-control-allow-methods
    access-control-allow-origin access-control-expose-headers access-control-max-age cache-control connection
    content-encoding content-length content-type date etag keep-alive retry-after server strict-transport-security
    transfer-encoding vary via x-content-type-options x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset
    """
USUAL = frozenset(_USUAL_NAMES.split())
"""Those that are documented, and those that any server may send. The report leaves them out."""
_OTHER_NAMES = """
    accept-ch accept-patch accept-ranges age allow allow-origin alt-svc authentication-info cdn-cache-control
    clear-site-data content-disposition content-language content-location content-md5 content-range
    content-security-policy content-security-policy-report-only cross-origin-embedder-policy
    cross-origin-opener-policy cross-origin-resource-policy deprecation digest content-digest expect-ct expires
    feature-policy last-modified link location nel origin-agent-cluster p3p permissions-policy pragma
    proxy-authenticate proxy-connection proxy-status public-key-pins ratelimit ratelimit-limit ratelimit-policy
    ratelimit-remaining ratelimit-reset referrer-policy refresh repr-digest report-to reporting-endpoints
    server-timing set-cookie sourcemap status sunset surrogate-control surrogate-key timing-allow-origin traceparent
    tracestate baggage trailer upgrade warning www-authenticate
    x-amz-apigw-id x-amz-cf-id x-amz-cf-pop x-amz-request-id x-amzn-errortype x-amzn-remapped-connection
    x-amzn-remapped-content-length x-amzn-remapped-date x-amzn-requestid x-amzn-trace-id x-amzn-waf-action
    x-api-version x-aspnet-version x-azure-ref x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid x-backend
    x-cache x-cache-hits x-cache-status x-cloud-trace-context x-correlation-id x-datadog-parent-id
    x-datadog-trace-id x-dns-prefetch-control x-download-options x-edge-location x-envoy-decorator-operation
    x-envoy-upstream-service-time x-fastly-request-id x-forwarded-for x-forwarded-host x-forwarded-proto
    x-frame-options x-kong-proxy-latency x-kong-request-id x-kong-upstream-latency x-matched-path
    x-permitted-cross-domain-policies x-powered-by x-process-time x-proxy-cache x-rate-limit-limit
    x-rate-limit-remaining x-rate-limit-reset x-ratelimit-policy x-ratelimit-used x-real-ip x-request-id
    x-response-time x-robots-tag x-runtime x-served-by x-served-from x-server x-timer x-total-count x-trace-id
    x-ua-compatible x-varnish x-vercel-cache x-vercel-id x-version x-xss-protection
    apigw-requestid cf-cache-status cf-connecting-ip cf-mitigated cf-ray fly-request-id function-execution-id
    heroku-request-id request-context request-id rndr-id x-render-origin-server sentry-trace
    """
_OTHERS = frozenset(_OTHER_NAMES.split())
"""Those of standards, and of servers, proxies, gateways and tools that may stand before the API."""


def is_known(name: str) -> bool:
    """Tell whether a name is a known one; of HTTP alone, in small letters."""
    return name in USUAL or name in _OTHERS
