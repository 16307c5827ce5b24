/** One figure. Written as one line of JSON to stdout. */
export interface Result {
  readonly bench: string;
  readonly case: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  /** What the value must be to be good, such as `< 100`; null where there is no target. */
  readonly goal: string | null;
  readonly ok: boolean;
  readonly samples: number;
  /** What ran beside it under the same conditions. */
  readonly peer?: string;
  readonly peer_value?: number;
  /** value / peer_value */
  readonly ratio?: number;
}

/** A figure as a benchmark hands it in. */
export interface Figure {
  readonly case: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  readonly samples: number;
  readonly goal?: { readonly than: '<' | '>'; readonly limit: number };
  readonly peer?: { readonly name: string; readonly value: number };
}

/** The line of JSON for a figure. */
export function resultOf(bench: string, figure: Figure): Result {
  const { goal, peer } = figure;
  const value = round(figure.value);
  const good = goal === undefined || (goal.than === '<' ? value < goal.limit : value > goal.limit);
  return {
    bench,
    case: figure.case,
    metric: figure.metric,
    value,
    unit: figure.unit,
    goal: goal === undefined ? null : `${goal.than} ${goal.limit}`,
    ok: good && Number.isFinite(value),
    samples: figure.samples,
    ...(peer === undefined ? {} : { peer: peer.name, peer_value: round(peer.value), ratio: round(value / peer.value) }),
  };
}

/** The results as a table for people. */
export function tableOf(results: readonly Result[]): string {
  const head = ['BENCH', 'CASE', 'METRIC', 'VALUE', 'GOAL', 'OK', 'SAMPLES', 'PEER'];
  const rows = results.map((result) => [
    result.bench,
    result.case,
    result.metric,
    `${result.value} ${result.unit}`,
    result.goal ?? '-',
    result.ok ? 'yes' : 'NO',
    String(result.samples),
    result.peer === undefined ? '-' : `${result.peer} ${result.peer_value} (x${result.ratio})`,
  ]);
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd();
  return [head, ...rows].map(line).join('\n');
}

/** Median and 99th percentile of one metric. @param limits what each has to stay below */
export function medianAndTail(
  of: Pick<Figure, 'case' | 'metric' | 'unit'>,
  values: readonly number[],
  limits: { readonly p50?: number; readonly p99?: number },
): Figure[] {
  const shares = { p50: 0.5, p99: 0.99 } as const;
  return (['p50', 'p99'] as const).map((name) => {
    const limit = limits[name];
    const figure = { ...of, metric: `${of.metric}, ${name}`, value: percentile(values, shares[name]) };
    return { ...figure, samples: values.length, ...(limit === undefined ? {} : { goal: { than: '<', limit } }) };
  });
}

/** The value below which a share of the samples lies (nearest rank); NaN without samples. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
