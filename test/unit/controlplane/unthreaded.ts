import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';

// For clusters under virtual time, which waits for no thread: signatures that are checked aside are checked at once.
const { verify } = crypto;
type Told = (error: null, isGood: boolean) => void;

Object.assign(crypto, {
  verify: (...[algorithm, data, key, signature, told]: [...Parameters<typeof verify>, Told?]): boolean => {
    const isGood = verify(algorithm, data, key, signature);
    if (told !== undefined) queueMicrotask(() => told(null, isGood));
    return isGood;
  },
});
syncBuiltinESMExports();
