import { type Logger, pino } from 'pino';
import type { AgentConfig } from './config.ts';

export type { Logger };

/** Structured log on stderr: one JSON object a line, or text for people with `log-format: pretty`. */
export function makeLog(config: Pick<AgentConfig, 'logLevel' | 'logFormat'>): Logger {
  const options = { level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  if (config.logFormat === 'json') return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(options, { write: (line: string) => process.stderr.write(pretty(line)) });
}

function pretty(line: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line) as { [key: string]: unknown };
  const label = pino.levels.labels[Number(level)] ?? String(level);
  const details = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  const message = typeof err === 'object' && err !== null && 'message' in err ? `: ${String(err.message)}` : '';
  return `${String(time)} ${label.toUpperCase().padEnd(5)} ${String(msg)}${message}${details.join('')}\n`;
}
