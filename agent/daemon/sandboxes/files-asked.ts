import type { Parsed } from '../../../dataplane/values.ts';
import type { SandboxCreateRequest } from '../../api/schema.ts';
import { parseHostname, parseOptions, parseSearch, parseServers } from '../../files/resolv-conf.ts';
import type { StoredSandbox } from '../../sandbox-state.ts';
import { RequestError } from '../api-error.ts';

/**
 * What a request says of a sandbox's files.
 * @throws RequestError `invalid_hostname`, `invalid_dns`, `invalid_dns_search` or `invalid_dns_option`
 */
export function filesAsked(request: SandboxCreateRequest): Pick<StoredSandbox, 'hostname' | 'resolver'> {
  const { Hostname, Dns = [], DnsSearch = [], DnsOptions = [] } = request;
  const search = 'give domains such as corp.example, or . alone for none';
  return {
    hostname: Hostname === undefined ? null : good(parseHostname(Hostname), 'hostname', 'such as web or web.example'),
    resolver: {
      servers: good(parseServers(Dns), 'dns', 'give addresses of nameservers, at most three'),
      search: good(parseSearch(DnsSearch), 'dns_search', search),
      options: good(parseOptions(DnsOptions), 'dns_option', 'resolv.conf(5) lists the options'),
    },
  };
}

function good<T>(parsed: Parsed<T>, what: string, hint: string): T {
  if (parsed.ok) return parsed.value;
  throw new RequestError(400, `invalid_${what}`, parsed.reason, hint);
}
